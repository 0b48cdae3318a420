//! Filters of system calls: loading one into a program that is about to start, and reading back
//! those of a stopped child.

use std::ffi::c_void;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use portcullis_seccomp::Instruction;

/// `SECCOMP_SET_MODE_FILTER`
const SET_MODE_FILTER: libc::c_long = 1;
/// `PTRACE_SECCOMP_GET_FILTER` (kernel 4.4, `CONFIG_CHECKPOINT_RESTORE`)
const GET_FILTER: libc::c_long = 0x420c;
/// Longest classic BPF program the kernel takes (`BPF_MAXINSNS`).
const MAX_INSTRUCTIONS: usize = 4096;

/// Has `command` start under `program`, which it and all that it starts keep for good. Does not set
/// `no_new_privs`, which is the container's matter: this process has the right to load one without.
pub(crate) fn confine(command: &mut Command, program: &[Instruction]) {
    let program: Vec<libc::sock_filter> = program.iter().map(plain).collect();
    let load = move || {
        // A longer one than the kernel takes is refused by it, not cut.
        let filter = libc::sock_fprog {
            len: u16::try_from(program.len()).unwrap_or(u16::MAX),
            filter: program.as_ptr().cast_mut(),
        };
        // SAFETY: the structure and the program it points to are owned by this closure and outlive the
        // call, which reads `len` instructions if that is at most 4096: no more than there are.
        let result =
            unsafe { libc::syscall(libc::SYS_seccomp, SET_MODE_FILTER, 0_u64, &raw const filter) };
        if result == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure runs between fork and exec and makes one system call; it does not
    // allocate or take locks, and reads only what it owns.
    unsafe { command.pre_exec(load) };
}

/// The seccomp filter `index` of a stopped child, 0 being the oldest; `None` after the last.
///
/// # Errors
///
/// The errno of `ptrace(2)`: `EACCES` if this process is filtered itself, `EINVAL` or `EIO` on a
/// kernel that does not tell, `EMEDIUMTYPE` if it is no classic BPF.
pub(crate) fn of(pid: i32, index: usize) -> nix::Result<Option<Vec<Instruction>>> {
    let blank = libc::sock_filter {
        code: 0,
        jt: 0,
        jf: 0,
        k: 0,
    };
    let mut program = vec![blank; MAX_INSTRUCTIONS];
    // SAFETY: the kernel writes the instructions of one classic BPF program, of which there are at
    // most 4096, so there is room, and keeps no pointer.
    let count = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            GET_FILTER,
            libc::c_long::from(pid),
            index,
            program.as_mut_ptr().cast::<c_void>(),
        )
    };
    match Errno::result(count) {
        Ok(count) => {
            program.truncate(usize::try_from(count).unwrap_or(0));
            let read = |it: &libc::sock_filter| Instruction {
                code: it.code,
                jt: it.jt,
                jf: it.jf,
                k: it.k,
            };
            Ok(Some(program.iter().map(read).collect()))
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

fn plain(instruction: &Instruction) -> libc::sock_filter {
    libc::sock_filter {
        code: instruction.code,
        jt: instruction.jt,
        jf: instruction.jf,
        k: instruction.k,
    }
}
