//! The one `unsafe` operation of this crate, behind a safe function.
#![expect(unsafe_code, reason = "dlopen has no safe form")]

use std::ffi::{CStr, CString};

/// Loads the shared library `name` for the rest of the process' life. Nothing of it is called but
/// what it runs itself when it is loaded.
///
/// # Errors
///
/// What the dynamic linker says.
pub(crate) fn keep_loaded(name: &CStr) -> Result<(), CString> {
    // SAFETY: `name` is terminated by zero and outlives the call. The libraries named by our one
    // caller are parts of tpm2-tss; they have no initialisers beyond the C library's own.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_NODELETE) };
    if !handle.is_null() {
        return Ok(());
    }
    // SAFETY: called in the thread in which dlopen just failed; the text is copied before any
    // other call of the dynamic linker can replace it.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return Err(CString::default());
    }
    // SAFETY: not null (looked at above), and dlerror returns a string terminated by zero.
    Err(unsafe { CStr::from_ptr(text) }.to_owned())
}
