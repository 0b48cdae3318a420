//! The unwinder of a program in which nothing unwinds: a panic aborts, and no tables are linked by
//! which a stack could be walked.
//!
//! The standard library walks it all the same, for a backtrace, by calling `_Unwind_Backtrace` with a
//! callback that finds names and lines in debugging information. This one never calls back, which
//! the compiler sees, so that a tenth of the program is left out. A panic still says where it was.
//!
//! # Source
//!
//! Itanium C++ ABI, "Exception Handling", Level I: Base ABI.
#![cfg(all(target_env = "musl", panic = "abort"))]
#![expect(
    unsafe_code,
    reason = "the ABI's functions have names that are not mangled"
)]

use std::ffi::{c_int, c_void};
use std::process::abort;

/// `_URC_END_OF_STACK`.
const END_OF_STACK: c_int = 5;

// SAFETY: nothing else in a program that is linked statically with musl defines this name, because
// the C library's unwinder is an archive of which nothing is taken that is defined already. The
// signature is the ABI's, and a stack of which no frame is known is within its contract.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_callback: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// What only a personality routine or a landing pad calls; neither runs without tables.
macro_rules! never {
    ($($name:ident)+) => {$(
        // SAFETY: as above for the name. It does not return, so what it was called with and what
        // it should have given do not matter.
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            abort()
        }
    )+};
}

never! {
    _Unwind_GetDataRelBase
    _Unwind_GetIP
    _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart
    _Unwind_GetTextRelBase
    _Unwind_Resume
    _Unwind_SetGR
    _Unwind_SetIP
}
