//! The floor of a node: what no container does, whatever its profile and whoever started it.
//!
//! A filter of system calls that is loaded into the OCI runtime before it begins. Every container
//! and every exec that the runtime makes inherits it, nobody can take it off, and among several
//! filters the kernel takes the strictest answer. So it binds privileged containers too, and an
//! answer to a defect of the kernel needs no change of any pod.
//!
//! What it denies looks as if the kernel did not have it: `ENOSYS` for a call, `EAFNOSUPPORT` for a
//! family of sockets. Programs fall back on that.
//!
//! # Source
//!
//! `seccomp(2)`.

use crate::action::Action;
use crate::bpf::Instruction;
use crate::convention::{self, Convention};

const ENOSYS: u16 = 38;
const EAFNOSUPPORT: u16 = 97;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;

/// First argument of `socketcall`: its other arguments are in memory, where no filter sees them.
const SOCKETCALL: [u32; 2] = [1, 8];

/// Calls that runc or crun make, or that the Go runtime, glibc and musl cannot do without: a floor
/// that denied one would stop every launch on the node.
///
/// # Source
///
/// `strace -f` of create, start, exec, pause, resume, update, kill and delete with runc 1.1 and crun
/// 1.8; and what newer versions use instead (mount and pidfd interfaces).
#[rustfmt::skip]
const NEEDED: [&str; 221] = [
    "accept4", "access", "add_key", "arch_prctl", "bind", "bpf", "brk", "capget", "capset", "chdir",
    "chmod", "chown", "chroot", "clock_gettime", "clock_nanosleep", "clone", "clone3", "close",
    "close_range", "connect", "copy_file_range", "dup", "dup2", "dup3", "epoll_create",
    "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_wait", "eventfd2", "execve", "execveat",
    "exit", "exit_group", "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod",
    "fchmodat", "fchmodat2", "fchown", "fchownat", "fcntl", "fork", "fsconfig", "fsmount", "fsopen",
    "fspick", "fstat", "fstatfs", "fsync", "ftruncate", "futex", "getcpu", "getcwd", "getdents64",
    "getegid", "geteuid", "getgid", "getpeername", "getpgid", "getpgrp", "getpid", "getppid",
    "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getsid", "getsockname",
    "getsockopt", "gettid", "gettimeofday", "getuid", "getxattr", "inotify_add_watch",
    "inotify_init1", "inotify_rm_watch", "ioctl", "ioprio_set", "keyctl", "kill",
    "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self", "lchown", "lgetxattr",
    "link", "linkat", "listen", "listmount", "lseek", "lsetxattr", "lstat", "madvise",
    "memfd_create", "mincore", "mkdir", "mkdirat", "mknodat", "mlock", "mmap", "mount",
    "mount_setattr", "move_mount", "mprotect", "mremap", "msync", "munmap", "nanosleep",
    "newfstatat", "open", "open_tree", "openat", "openat2", "personality", "pidfd_getfd",
    "pidfd_open", "pidfd_send_signal", "pipe", "pipe2", "pivot_root", "poll", "ppoll", "prctl",
    "pread64", "preadv", "prlimit64", "pselect6", "pwrite64", "pwritev", "read", "readlink",
    "readlinkat", "readv", "recvfrom", "recvmsg", "removexattr", "rename", "renameat", "renameat2",
    "restart_syscall", "rmdir", "rseq", "rt_sigaction", "rt_sigpending", "rt_sigprocmask",
    "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "sched_getaffinity", "sched_setaffinity",
    "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp", "select",
    "sendfile", "sendmsg", "sendto", "set_mempolicy", "set_robust_list", "set_tid_address",
    "setdomainname", "setfsgid", "setfsuid", "setgid", "setgroups", "sethostname", "setitimer",
    "setns", "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid",
    "setrlimit", "setsid", "setsockopt", "setuid", "setxattr", "shutdown", "sigaltstack", "socket",
    "socketpair", "splice", "stat", "statfs", "statmount", "statx", "symlink", "symlinkat", "sync",
    "sysinfo", "tee", "tgkill", "time", "timer_create", "timer_delete", "timer_settime",
    "timerfd_create", "timerfd_settime", "times", "truncate", "umask", "umount2", "uname", "unlink",
    "unlinkat", "unshare", "utimensat", "vfork", "wait4", "waitid", "write", "writev",
];

/// Families of sockets by name and number.
///
/// # Source
///
/// `linux/socket.h`. Left out are those that every program needs: `AF_UNIX`, `AF_INET`, `AF_INET6`,
/// `AF_NETLINK`; the runtime itself uses the first and the last.
const FAMILIES: [(&str, u32); 24] = [
    ("AF_AX25", 3),
    ("AF_IPX", 4),
    ("AF_APPLETALK", 5),
    ("AF_NETROM", 6),
    ("AF_ATMPVC", 8),
    ("AF_X25", 9),
    ("AF_ROSE", 11),
    ("AF_KEY", 15),
    ("AF_PACKET", 17),
    ("AF_ATMSVC", 20),
    ("AF_RDS", 21),
    ("AF_PPPOX", 24),
    ("AF_LLC", 26),
    ("AF_IB", 27),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_BLUETOOTH", 31),
    ("AF_RXRPC", 33),
    ("AF_PHONET", 35),
    ("AF_IEEE802154", 36),
    ("AF_ALG", 38),
    ("AF_NFC", 39),
    ("AF_VSOCK", 40),
    ("AF_XDP", 44),
];

/// What a node denies to everything that runs in containers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Floor {
    calls: Vec<String>,
    families: Vec<u32>,
}

/// Why something cannot be denied to all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FloorError {
    /// No ABI of this processor has the call.
    #[error("no system call of this processor")]
    UnknownCall,
    /// The OCI runtime would fail.
    #[error("a system call that OCI runtimes need")]
    NeededCall,
    /// It is no family, or one that every program needs.
    #[error("no family of sockets that can be denied to all")]
    UnknownFamily,
}

// === impl Floor ===

impl Floor {
    /// Denies the call `name` of this machine's processor, in the ABIs of 64 and of 32 bits.
    ///
    /// # Errors
    ///
    /// [`FloorError::UnknownCall`], [`FloorError::NeededCall`].
    pub fn deny_call(&mut self, name: &str) -> Result<(), FloorError> {
        let has = |abi: &Convention| abi.number(name).is_some();
        if !convention::ALL.iter().any(has) {
            return Err(FloorError::UnknownCall);
        }
        if NEEDED.contains(&name) {
            return Err(FloorError::NeededCall);
        }
        if !self.calls.iter().any(|known| known == name) {
            self.calls.push(name.to_owned());
        }
        Ok(())
    }

    /// Denies sockets of the family `name` (`AF_ALG`).
    ///
    /// # Errors
    ///
    /// [`FloorError::UnknownFamily`].
    pub fn deny_family(&mut self, name: &str) -> Result<(), FloorError> {
        let family = FAMILIES.iter().find(|(known, _)| *known == name);
        let (_, number) = family.ok_or(FloorError::UnknownFamily)?;
        if !self.families.contains(number) {
            self.families.push(*number);
        }
        Ok(())
    }

    /// Whether nothing is denied, and no filter is needed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.families.is_empty()
    }

    /// The filter. `socketcall`: 32-bit programs may make sockets through the call whose arguments
    /// no filter sees, of whatever family.
    #[must_use]
    pub fn program(&self, socketcall: bool) -> Vec<Instruction> {
        let mut program = vec![Instruction::load(ARCH)];
        for abi in convention::ALL {
            let mut part = self.part(abi, socketcall);
            let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
            program.push(Instruction::if_equal(abi.audit_arch, 1, 0));
            program.push(Instruction::leap(length));
            program.append(&mut part);
        }
        // An ABI whose calls are not known here is not let pass unseen.
        program.push(Instruction::answer(Action::KILL_PROCESS.return_value()));
        program
    }

    fn part(&self, abi: &Convention, socketcall: bool) -> Vec<Instruction> {
        let mut part = vec![Instruction::load(NUMBER)];
        let denied = Instruction::answer(Action::errno(ENOSYS).return_value());
        for number in self.calls.iter().filter_map(|name| abi.number(name)) {
            part.extend([Instruction::if_equal(number, 0, 1), denied]);
        }
        if abi.audit_arch == convention::X86_64 {
            part.extend([Instruction::if_at_least(convention::X32, 0, 1), denied]);
        }
        if !self.families.is_empty() {
            for call in ["socket", "socketpair"]
                .into_iter()
                .filter_map(|it| abi.number(it))
            {
                part.extend(through(call, &self.families, EAFNOSUPPORT));
            }
            if let Some(call) = abi.number("socketcall").filter(|_| !socketcall) {
                part.extend(through(call, &SOCKETCALL, ENOSYS));
            }
        }
        part.push(Instruction::answer(Action::ALLOW.return_value()));
        part
    }
}

/// Denies `call` with one of `firsts` as its first argument, of which the kernel reads 32 bits. What
/// was loaded is the number of the call, before and after.
fn through(call: u32, firsts: &[u32], errno: u16) -> Vec<Instruction> {
    let mut inner = vec![Instruction::load(FIRST_ARGUMENT)];
    for first in firsts {
        inner.push(Instruction::if_equal(*first, 0, 1));
        inner.push(Instruction::answer(Action::errno(errno).return_value()));
    }
    inner.push(Instruction::load(NUMBER));
    let length = u32::try_from(inner.len()).unwrap_or(u32::MAX);
    let mut all = vec![Instruction::if_equal(call, 1, 0), Instruction::leap(length)];
    all.append(&mut inner);
    all
}

#[cfg(test)]
mod tests;
