//! Every `unsafe` operation of the shim, each behind a safe function.
#![expect(
    unsafe_code,
    reason = "fork, pre_exec, ioctl and descriptors received by number have no safe form"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, Pid, fork};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) mod filter;
pub(crate) mod trace;

/// Which side of [`fork_server`] runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The caller, which goes on to answer containerd.
    Parent,
    /// The new process, which goes on to serve.
    Server,
}

/// Forks without executing again, so that the server starts with everything already loaded.
///
/// # Errors
///
/// The errno of `fork(2)`; `EBUSY` if a second thread exists, because a fork would then copy
/// locks in an unknown state.
pub(crate) fn fork_server() -> io::Result<Side> {
    match fork_alone()? {
        ForkResult::Parent { .. } => Ok(Side::Parent),
        ForkResult::Child => Ok(Side::Server),
    }
}

fn fork_alone() -> io::Result<ForkResult> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // SAFETY: the process has exactly one thread (counted above, and nothing here starts one),
    // so the child inherits no lock held by a thread that does not exist in it.
    unsafe { fork() }.map_err(io::Error::from)
}

/// Ends the process as it goes out of scope, however that comes about.
struct Ending;

impl Drop for Ending {
    fn drop(&mut self) {
        // SAFETY: `_exit` runs no destructor and flushes nothing. That is the point: what this
        // process has in memory belongs to its parent.
        unsafe { libc::_exit(0) }
    }
}

/// Runs `work` in a child of this process, without executing again, and ends the child with it,
/// or when this process dies. The child has a copy of the memory and, of the descriptors, 0 to 2
/// and those in `keep`; returns its number. Whoever collects children collects it.
///
/// # Errors
///
/// As of [`fork_server`].
pub(crate) fn fork_errand(keep: &[RawFd], work: impl FnOnce()) -> io::Result<Pid> {
    if let ForkResult::Parent { child } = fork_alone()? {
        return Ok(child);
    }
    let _ending = Ending;
    // Not dumpable: in the user namespace of a pod, which it may enter, nobody may look into it.
    let ready = prctl::set_pdeathsig(Signal::SIGKILL).and_then(|()| prctl::set_dumpable(false));
    if ready.is_ok() && close_all_but(keep).is_ok() {
        work();
    }
    // The closing brace ends the child; the value is for the type only.
    Err(io::Error::from_raw_os_error(libc::ECHILD))
}

/// Closes every descriptor from 3 up that is not in `keep`.
fn close_all_but(keep: &[RawFd]) -> nix::Result<()> {
    let mut keep: Vec<libc::c_uint> = keep.iter().map(|fd| fd.unsigned_abs()).collect();
    keep.sort_unstable();
    let mut from: libc::c_uint = 3;
    for fd in keep.into_iter().filter(|fd| *fd >= 3) {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, libc::c_uint::MAX)
}

fn close_range(first: libc::c_uint, last: libc::c_uint) -> nix::Result<()> {
    const NO_FLAGS: libc::c_long = 0;
    // SAFETY: called in the child of `fork_errand` only, before its work begins. The owners of
    // these descriptors are copies of the parent's; the work does not reach them, and `Ending`
    // keeps them from being dropped.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            libc::c_long::from(first),
            libc::c_long::from(last),
            NO_FLAGS,
        )
    };
    Errno::result(result).map(drop)
}

/// Closes every descriptor from 3 up that this process was started with, so that nothing
/// containerd leaked to us stays open, or reaches the runtime or a container.
///
/// To be called first in `main`, before anything is opened.
///
/// # Errors
///
/// The errno of `close_range(2)` (kernel 5.9).
pub(crate) fn close_inherited() -> io::Result<()> {
    // By number: musl has no function for it.
    const FIRST: libc::c_long = 3;
    const LAST: libc::c_long = libc::c_uint::MAX as libc::c_long;
    const NO_FLAGS: libc::c_long = 0;
    // SAFETY: called before this program opens anything, so no descriptor from 3 up is owned by
    // Rust code; the standard library keeps none of its own.
    let result = unsafe { libc::syscall(libc::SYS_close_range, FIRST, LAST, NO_FLAGS) };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Makes the kernel kill `command`'s process when the shim dies, so that no runtime outlives a
/// killed shim and finishes a launch that nobody decided.
pub(crate) fn die_with_parent(command: &mut Command) {
    let parent = nix::unistd::getpid();
    // SAFETY: the closure runs between fork and exec and makes two system calls; it does not
    // allocate, take locks or touch Rust state.
    unsafe {
        command.pre_exec(move || {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
            // Too late if the shim died before: then nobody sends the signal.
            if nix::unistd::getppid() == parent {
                Ok(())
            } else {
                Err(io::Error::from_raw_os_error(libc::ESRCH))
            }
        });
    }
}

/// Gives this process a core-scheduling group of its own, which its children inherit: only they
/// run on the sibling threads of a core at the same time.
///
/// # Errors
///
/// The errno of `prctl(2)`: `EINVAL` on a kernel without core scheduling, `ENODEV` on a machine
/// whose cores have one thread.
pub(crate) fn create_core_group() -> io::Result<()> {
    // linux/prctl.h; `libc` does not have them.
    const PR_SCHED_CORE: libc::c_int = 62;
    const PR_SCHED_CORE_CREATE: libc::c_ulong = 1;
    const PR_SCHED_CORE_SCOPE_THREAD_GROUP: libc::c_ulong = 1;
    // SAFETY: this operation takes numbers only: no process (0, the caller), its thread group,
    // and no address to write to.
    let result = unsafe {
        libc::prctl(
            PR_SCHED_CORE,
            PR_SCHED_CORE_CREATE,
            0,
            PR_SCHED_CORE_SCOPE_THREAD_GROUP,
            0,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// First number that a program given descriptors beyond the standard ones does not see.
const PASSED_ON: std::ops::Range<RawFd> = 3..6;

/// Gives `command` these as its descriptors 3, 4 and 5; they live as long as it does.
///
/// # Errors
///
/// The errno of `fcntl(2)`.
pub(crate) fn pass_on(command: &mut Command, descriptors: [OwnedFd; 3]) -> io::Result<()> {
    let above = |fd: OwnedFd| {
        // Whatever the number was, the copy below must not run over one that it still needs.
        let number = fcntl(&fd, FcntlArg::F_DUPFD_CLOEXEC(PASSED_ON.end))?;
        Ok::<_, io::Error>(own_received(number))
    };
    let [first, second, third] = descriptors;
    let passed = [above(first)?, above(second)?, above(third)?];
    // The standard library opens a pipe of its own between here and the start, and it must not
    // get one of these numbers either.
    let mut taken = Vec::new();
    for _number in PASSED_ON {
        let null = std::fs::File::open("/dev/null")?;
        if PASSED_ON.contains(&null.as_raw_fd()) {
            taken.push(null);
        }
    }
    let copy = move || {
        let _held_until_the_command_is_dropped = &taken;
        for (descriptor, number) in passed.iter().zip(PASSED_ON) {
            // SAFETY: the first is open, because `passed` owns it; the second number belongs to
            // nothing that is used between here and exec, in a process that has only this thread.
            let result = unsafe { libc::dup2(descriptor.as_raw_fd(), number) };
            if result != number {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: the closure runs between fork and exec and makes three system calls; it does not
    // allocate or take locks, and reads only what it owns.
    unsafe { command.pre_exec(copy) };
    Ok(())
}

nix::ioctl_read_bad!(fionread, libc::FIONREAD, libc::c_int);

/// How many bytes wait in the pipe or FIFO behind `end` to be read.
///
/// # Errors
///
/// The errno of the `FIONREAD` ioctl.
pub(crate) fn unread_bytes(end: BorrowedFd<'_>) -> io::Result<usize> {
    let mut count: libc::c_int = 0;
    // SAFETY: the descriptor is borrowed for the length of the call, and `count` is an int that
    // the kernel writes.
    unsafe { fionread(end.as_raw_fd(), &raw mut count) }?;
    Ok(usize::try_from(count).unwrap_or_default())
}

nix::ioctl_write_ptr_bad!(tiocswinsz, libc::TIOCSWINSZ, libc::winsize);

/// Sets the size of the terminal behind `console` in character cells.
///
/// # Errors
///
/// The errno of the `TIOCSWINSZ` ioctl.
pub(crate) fn set_terminal_size(
    console: BorrowedFd<'_>,
    columns: u16,
    rows: u16,
) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the descriptor is borrowed for the length of the call, and `size` is a valid
    // winsize that the kernel only reads.
    unsafe { tiocswinsz(console.as_raw_fd(), &raw const size) }?;
    Ok(())
}

/// Puts those capabilities of `wanted` in effect that are permitted, and makes none inheritable
/// (which makes none ambient either). The permitted set stays. For this thread.
///
/// # Errors
///
/// The errno of `capget(2)` or `capset(2)`.
///
/// # Source
///
/// capget(2): version 3 of the interface, two words of 32 bits for each set.
pub(crate) fn set_effective_capabilities(wanted: u64) -> io::Result<()> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Word {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut words = [Word {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    }; 2];
    // SAFETY: version 3 of the interface fills two words; both structures have the layout of
    // `linux/capability.h` and outlive the call.
    let got = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, words.as_mut_ptr()) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    let [low, high] = &mut words;
    for (word, wanted) in [(low, wanted & 0xffff_ffff), (high, wanted >> 32)] {
        word.effective = word.permitted & u32::try_from(wanted).unwrap_or(u32::MAX);
        word.inheritable = 0;
    }
    // SAFETY: as above; the kernel only reads the words.
    let set = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, words.as_ptr()) };
    if set == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// A descriptor of the process `pid` that never means another one.
///
/// # Errors
///
/// The errno of `pidfd_open(2)` (kernel 5.3).
pub(crate) fn open_process(pid: i32) -> io::Result<OwnedFd> {
    const NO_FLAGS: libc::c_long = 0;
    // SAFETY: two numbers; the kernel answers with a new descriptor, close-on-exec, or an error.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, libc::c_long::from(pid), NO_FLAGS) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = RawFd::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just opened it for this process and nobody else has seen it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Takes ownership of a descriptor that the kernel has just made for us: through `SCM_RIGHTS`, or
/// as a copy.
pub(crate) fn own_received(fd: RawFd) -> OwnedFd {
    // SAFETY: called only with numbers from the control message of a `recvmsg`, or from an
    // `F_DUPFD`, that just succeeded; the kernel opened them and nobody else has seen them.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Lets the event loop watch `fd`, which it owns from then on.
///
/// # Errors
///
/// The errno of `epoll_ctl(2)`.
pub(crate) fn watch(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the returned value, which removes it from the event
    // loop before it closes it; nobody else can close it or let its number mean another file.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// Gives free heap pages back to the kernel; called after the one large allocation burst of a
/// launch (configuration, verdict), because memory per pod is a promise.
pub(crate) fn trim_heap() {
    // SAFETY: `malloc_trim` only works on the allocator's own state and is thread safe.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// Fills `bytes` (at most 256, which the kernel gives whole) with random ones.
///
/// The crate `getrandom` finds the system call by name at run time, which a static program
/// cannot, and would keep `/dev/urandom` open instead.
///
/// # Errors
///
/// The errno of `getrandom(2)`.
pub(crate) fn random<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    const { assert!(LENGTH <= 256, "more may come in parts") };
    let mut bytes = [0; LENGTH];
    // SAFETY: the pointer and the length describe `bytes`, which outlives the call.
    let count = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), LENGTH, 0) };
    if usize::try_from(count) == Ok(LENGTH) {
        Ok(bytes)
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Kills a child of this process that must not go on; it cannot be gone without our having
/// collected it, so the number is still its own.
pub(crate) fn kill_process(pid: u32) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
        && let Err(errno) = kill_by_number(pid, libc::SIGKILL)
    {
        crate::log::error(&format!("cannot kill process {pid}: {errno}"));
    }
}

/// Sends a signal that has no name in `nix`, the real-time ones.
///
/// # Errors
///
/// The errno of `kill(2)`.
pub(crate) fn kill_by_number(pid: i32, signal: i32) -> nix::Result<()> {
    // SAFETY: `kill` takes two numbers and touches no memory of ours.
    let result = unsafe { libc::kill(pid, signal) };
    Errno::result(result).map(drop)
}

// === mounts ===

/// Copies the mount at `path`, and with `recursive` those below it, to a tree that is attached
/// nowhere and goes when the descriptor is closed (`open_tree(2)`, kernel 5.2).
///
/// # Errors
///
/// The errno.
pub(crate) fn clone_tree(path: &Path, recursive: bool) -> nix::Result<OwnedFd> {
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::O_CLOEXEC.unsigned_abs() | below.unsigned_abs();
    // SAFETY: the path ends with zero and outlives the call; nothing else is read or written.
    let result = path.with_nix_path(|path| unsafe {
        libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags)
    })?;
    own_new(result)
}

/// Adds attributes (`MOUNT_ATTR_*`) to the mount that `tree` is the root of, and with `recursive`
/// to those below it; `users` is for `MOUNT_ATTR_IDMAP` (`mount_setattr(2)`, kernel 5.12).
///
/// # Errors
///
/// The errno.
pub(crate) fn set_tree(
    tree: BorrowedFd<'_>,
    attributes: u64,
    users: Option<BorrowedFd<'_>>,
    recursive: bool,
) -> nix::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: 0,
        userns_fd: users.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let below = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the empty path and the structure, whose size is given, outlive the call, which only
    // reads them; the descriptors are borrowed for its length.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | below,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// Attaches `tree` at `place`, on top of what is mounted there (`move_mount(2)`, kernel 5.2).
///
/// # Errors
///
/// The errno.
pub(crate) fn attach_tree(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> nix::Result<()> {
    // SAFETY: the two empty paths outlive the call, and the descriptors are borrowed for it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            place.as_raw_fd(),
            c"".as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH | libc::MOVE_MOUNT_T_EMPTY_PATH,
        )
    };
    Errno::result(result).map(drop)
}

/// Takes ownership of what a system call has just opened.
fn own_new(result: libc::c_long) -> nix::Result<OwnedFd> {
    let fd = Errno::result(result)?;
    let fd = RawFd::try_from(fd).map_err(|_out_of_range| Errno::EBADF)?;
    // SAFETY: the kernel has just made this descriptor for the caller, who has it from nowhere
    // else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct loop_config` of `linux/loop.h`, with `struct loop_info64` in it.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    numbers: [u64; 5],
    lo_number: u32,
    encryption: [u32; 2],
    lo_flags: u32,
    names_and_key: [u8; 64 + 64 + 32],
    lo_init: [u64; 2],
    reserved: [u64; 8],
}

// What the kernel copies in.
const _: () = assert!(size_of::<LoopConfig>() == 304);

/// `LOOP_CTL_GET_FREE`
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4C82;
/// `LOOP_CONFIGURE` (kernel 5.8)
const LOOP_CONFIGURE: libc::Ioctl = 0x4C0A;

/// The number of a loop device that nobody uses at this moment; `control` is
/// `/dev/loop-control`.
///
/// # Errors
///
/// The errno.
pub(crate) fn free_loop_device(control: BorrowedFd<'_>) -> nix::Result<i32> {
    // SAFETY: this ioctl takes no argument and touches no memory of ours.
    let result = unsafe { libc::ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE) };
    Errno::result(result)
}

/// Puts the file `backing` behind the loop device `device`, with flags `LO_FLAGS_*`.
///
/// # Errors
///
/// The errno; `EBUSY` if somebody else has taken the device.
pub(crate) fn configure_loop_device(
    device: BorrowedFd<'_>,
    backing: BorrowedFd<'_>,
    flags: u32,
) -> nix::Result<()> {
    let config = LoopConfig {
        fd: backing.as_raw_fd().unsigned_abs(),
        block_size: 0,
        numbers: [0; 5],
        lo_number: 0,
        encryption: [0; 2],
        lo_flags: flags,
        names_and_key: [0; 160],
        lo_init: [0; 2],
        reserved: [0; 8],
    };
    // SAFETY: the kernel reads one `struct loop_config`, which `config` is laid out as, and keeps
    // no pointer to it.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config) };
    Errno::result(result).map(drop)
}

/// One child that has ended, which is collected by this, or that is traced and has stopped, if
/// there is one: its number and its raw status.
///
/// `nix` reports a child that a real-time signal has ended as an error, after it was collected.
pub(crate) fn collect_child() -> Option<(i32, i32)> {
    let mut status = 0;
    loop {
        // SAFETY: `status` outlives the call, which writes one integer to it.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid > 0 {
            return Some((pid, status));
        }
        if pid == 0 || Errno::last() != Errno::EINTR {
            return None;
        }
    }
}
