//! Limiting system calls, with seccomp filters.
//!
//! The list was measured: `strace` over enrolling, attesting, snapshots, records, tags, restarts
//! and shutdown, with a dynamic build; names that another C library or processor uses for the
//! same thing are added. A call that is not on it gets EPERM: a C library that comes to need one
//! more fails in one place and says so, and the gate is not taken down for it. Calls that no
//! defect of ours could make, but foreign code would, end the process.

use std::collections::BTreeMap;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter,
};

/// With whom new sockets can talk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// No sockets can be made; the listener and its connections are there already.
    Nobody,
    /// TCP, as far as the rules for ports allow.
    SoftwareTpm,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Allowed with whatever arguments.
const ALLOWED: &[libc::c_long] = &[
    // files and descriptors; which files is for Landlock to say
    libc::SYS_close,
    libc::SYS_fdatasync,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_getdents64,
    libc::SYS_lseek,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_ppoll,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_unlinkat,
    libc::SYS_write,
    libc::SYS_writev,
    // clients, the service manager, the software TPM
    libc::SYS_accept4,
    libc::SYS_getpeername,
    libc::SYS_getsockname,
    libc::SYS_getsockopt,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendmsg,
    libc::SYS_sendto,
    libc::SYS_setsockopt,
    libc::SYS_shutdown,
    // memory, threads, time
    libc::SYS_brk,
    libc::SYS_clock_getres,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_uname,
    // Answered before this list is asked, see `TOLD_ABSENT`.
    libc::SYS_clone3,
];

/// The same by names that only some processors have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS_poll,
    libc::SYS_rename,
    libc::SYS_renameat,
    libc::SYS_unlink,
];
/// `renameat` (`asm-generic/unistd.h`), which glibc uses there and the `libc` crate does not name.
#[cfg(target_arch = "aarch64")]
const ALLOWED_HERE: &[libc::c_long] = &[38];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// Does not exist as far as the agent can see: its flags are in memory, where a filter cannot
/// look, and C libraries then use `clone`, whose flags are not.
const TOLD_ABSENT: &[libc::c_long] = &[libc::SYS_clone3];

/// Ends the process: the code that is running is not ours.
const FATAL: &[libc::c_long] = &[
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_capset,
    libc::SYS_chroot,
    libc::SYS_delete_module,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_memfd_create,
    libc::SYS_mount,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_request_key,
    libc::SYS_setns,
    libc::SYS_setresgid,
    libc::SYS_setresuid,
    libc::SYS_umount2,
    libc::SYS_unshare,
    libc::SYS_userfaultfd,
];

/// Every namespace a thread could be started in.
const NEW_NAMESPACES: i32 = libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWUTS;

/// Limits this thread, and those it will start. Says what is missing if the kernel cannot, or if
/// this processor's calls are not known.
pub(super) fn limit(reach: Reach) -> Result<Option<String>, seccompiler::Error> {
    let Ok(processor) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(Some(format!(
            "system calls: not limited on {}",
            std::env::consts::ARCH
        )));
    };
    for program in programs(reach, processor)? {
        match apply_filter(&program) {
            Ok(()) => {}
            Err(seccompiler::Error::Seccomp(error)) if is_absent(&error) => {
                return Ok(Some("system calls: this kernel has no seccomp".to_owned()));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL))
}

/// The filters. Of what several say about a call, the strictest holds.
fn programs(reach: Reach, processor: TargetArch) -> Result<[BpfProgram; 3], BackendError> {
    let named = |calls: &[libc::c_long]| calls.iter().map(|call| (*call, Vec::new())).collect();
    let filters = [
        (named(FATAL), SeccompAction::KillProcess),
        (named(TOLD_ABSENT), errno(libc::ENOSYS)),
    ];
    let [fatal, absent] = filters.map(|(rules, action)| {
        SeccompFilter::new(rules, SeccompAction::Allow, action, processor)?.try_into()
    });
    let allowed = SeccompFilter::new(
        allowed(reach)?,
        errno(libc::EPERM),
        SeccompAction::Allow,
        processor,
    )?;
    Ok([fatal?, absent?, allowed.try_into()?])
}

fn errno(number: i32) -> SeccompAction {
    SeccompAction::Errno(number.unsigned_abs())
}

fn allowed(reach: Reach) -> Result<Rules, BackendError> {
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    // Threads, not processes, and in no other namespace.
    let thread = NEW_NAMESPACES | libc::CLONE_THREAD;
    let flags = bits(0, thread, libc::CLONE_THREAD)?;
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![flags])?]);
    for call in [libc::SYS_mmap, libc::SYS_mprotect] {
        let no_new_code = bits(2, libc::PROT_EXEC, 0)?;
        rules.insert(call, vec![SeccompRule::new(vec![no_new_code])?]);
    }
    let fcntl = [
        libc::F_GETFD,
        libc::F_SETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_DUPFD_CLOEXEC,
    ];
    rules.insert(libc::SYS_fcntl, one_of(1, &fcntl)?);
    // Whether a socket blocks. Terminals and devices are not asked for anything.
    rules.insert(libc::SYS_ioctl, is(1, libc::FIONBIO)?);
    let prctl = [i64::from(libc::PR_SET_NAME), i64::from(libc::PR_SET_VMA)];
    rules.insert(libc::SYS_prctl, one_of(0, &prctl)?);
    // Reading limits of our own, not setting them: the third argument is a pointer, not set.
    let unset = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, 0)?;
    let reading = SeccompRule::new(vec![equal(0, 0_i32)?, unset])?;
    rules.insert(libc::SYS_prlimit64, vec![reading]);
    // What abort() sends.
    let own = std::process::id();
    rules.insert(libc::SYS_tgkill, is(0, own)?);
    if reach == Reach::SoftwareTpm {
        rules.insert(
            libc::SYS_socket,
            one_of(0, &[libc::AF_INET, libc::AF_INET6])?,
        );
        rules.insert(libc::SYS_connect, Vec::new());
    }
    Ok(rules)
}

/// One argument has this value.
fn is(argument: u8, value: impl TryInto<u64>) -> Result<Vec<SeccompRule>, BackendError> {
    Ok(vec![SeccompRule::new(vec![equal(argument, value)?])?])
}

/// One argument has one of these values.
fn one_of<T: TryInto<u64> + Copy>(
    argument: u8,
    values: &[T],
) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![equal(argument, *value)?]))
        .collect()
}

/// One argument, a number of 32 bits to the kernel, has this value.
fn equal(argument: u8, value: impl TryInto<u64>) -> Result<SeccompCondition, BackendError> {
    let value = value.try_into().unwrap_or(u64::MAX);
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)
}

/// Of the bits in `mask`, those of `set` are set in one argument and the others are not.
fn bits(argument: u8, mask: i32, set: i32) -> Result<SeccompCondition, BackendError> {
    let wide = |bits: i32| u64::from(bits.cast_unsigned());
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Qword,
        SeccompCmpOp::MaskedEq(wide(mask)),
        wide(set),
    )
}
