//! System calls of aarch64, by number.
//!
//! # Source
//!
//! Linux 7.2, `arch/arm64/include/generated/uapi/asm/unistd_64.h`: every `__NR_` line.

use super::Calls;

/// Number and name of each, in the order of the numbers.
#[rustfmt::skip]
pub(crate) const CALLS: Calls = Calls("\
0 io_setup\n1 io_destroy\n2 io_submit\n3 io_cancel\n4 io_getevents\n5 setxattr\n6 lsetxattr\n\
7 fsetxattr\n8 getxattr\n9 lgetxattr\n10 fgetxattr\n11 listxattr\n12 llistxattr\n13 flistxattr\n\
14 removexattr\n15 lremovexattr\n16 fremovexattr\n17 getcwd\n18 lookup_dcookie\n19 eventfd2\n\
20 epoll_create1\n21 epoll_ctl\n22 epoll_pwait\n23 dup\n24 dup3\n25 fcntl\n26 inotify_init1\n\
27 inotify_add_watch\n28 inotify_rm_watch\n29 ioctl\n30 ioprio_set\n31 ioprio_get\n32 flock\n\
33 mknodat\n34 mkdirat\n35 unlinkat\n36 symlinkat\n37 linkat\n38 renameat\n39 umount2\n\
40 mount\n41 pivot_root\n42 nfsservctl\n43 statfs\n44 fstatfs\n45 truncate\n46 ftruncate\n\
47 fallocate\n48 faccessat\n49 chdir\n50 fchdir\n51 chroot\n52 fchmod\n53 fchmodat\n\
54 fchownat\n55 fchown\n56 openat\n57 close\n58 vhangup\n59 pipe2\n60 quotactl\n61 getdents64\n\
62 lseek\n63 read\n64 write\n65 readv\n66 writev\n67 pread64\n68 pwrite64\n69 preadv\n\
70 pwritev\n71 sendfile\n72 pselect6\n73 ppoll\n74 signalfd4\n75 vmsplice\n76 splice\n77 tee\n\
78 readlinkat\n79 newfstatat\n80 fstat\n81 sync\n82 fsync\n83 fdatasync\n84 sync_file_range\n\
85 timerfd_create\n86 timerfd_settime\n87 timerfd_gettime\n88 utimensat\n89 acct\n90 capget\n\
91 capset\n92 personality\n93 exit\n94 exit_group\n95 waitid\n96 set_tid_address\n97 unshare\n\
98 futex\n99 set_robust_list\n100 get_robust_list\n101 nanosleep\n102 getitimer\n103 setitimer\n\
104 kexec_load\n105 init_module\n106 delete_module\n107 timer_create\n108 timer_gettime\n\
109 timer_getoverrun\n110 timer_settime\n111 timer_delete\n112 clock_settime\n\
113 clock_gettime\n114 clock_getres\n115 clock_nanosleep\n116 syslog\n117 ptrace\n\
118 sched_setparam\n119 sched_setscheduler\n120 sched_getscheduler\n121 sched_getparam\n\
122 sched_setaffinity\n123 sched_getaffinity\n124 sched_yield\n125 sched_get_priority_max\n\
126 sched_get_priority_min\n127 sched_rr_get_interval\n128 restart_syscall\n129 kill\n\
130 tkill\n131 tgkill\n132 sigaltstack\n133 rt_sigsuspend\n134 rt_sigaction\n\
135 rt_sigprocmask\n136 rt_sigpending\n137 rt_sigtimedwait\n138 rt_sigqueueinfo\n\
139 rt_sigreturn\n140 setpriority\n141 getpriority\n142 reboot\n143 setregid\n144 setgid\n\
145 setreuid\n146 setuid\n147 setresuid\n148 getresuid\n149 setresgid\n150 getresgid\n\
151 setfsuid\n152 setfsgid\n153 times\n154 setpgid\n155 getpgid\n156 getsid\n157 setsid\n\
158 getgroups\n159 setgroups\n160 uname\n161 sethostname\n162 setdomainname\n163 getrlimit\n\
164 setrlimit\n165 getrusage\n166 umask\n167 prctl\n168 getcpu\n169 gettimeofday\n\
170 settimeofday\n171 adjtimex\n172 getpid\n173 getppid\n174 getuid\n175 geteuid\n176 getgid\n\
177 getegid\n178 gettid\n179 sysinfo\n180 mq_open\n181 mq_unlink\n182 mq_timedsend\n\
183 mq_timedreceive\n184 mq_notify\n185 mq_getsetattr\n186 msgget\n187 msgctl\n188 msgrcv\n\
189 msgsnd\n190 semget\n191 semctl\n192 semtimedop\n193 semop\n194 shmget\n195 shmctl\n\
196 shmat\n197 shmdt\n198 socket\n199 socketpair\n200 bind\n201 listen\n202 accept\n\
203 connect\n204 getsockname\n205 getpeername\n206 sendto\n207 recvfrom\n208 setsockopt\n\
209 getsockopt\n210 shutdown\n211 sendmsg\n212 recvmsg\n213 readahead\n214 brk\n215 munmap\n\
216 mremap\n217 add_key\n218 request_key\n219 keyctl\n220 clone\n221 execve\n222 mmap\n\
223 fadvise64\n224 swapon\n225 swapoff\n226 mprotect\n227 msync\n228 mlock\n229 munlock\n\
230 mlockall\n231 munlockall\n232 mincore\n233 madvise\n234 remap_file_pages\n235 mbind\n\
236 get_mempolicy\n237 set_mempolicy\n238 migrate_pages\n239 move_pages\n240 rt_tgsigqueueinfo\n\
241 perf_event_open\n242 accept4\n243 recvmmsg\n260 wait4\n261 prlimit64\n262 fanotify_init\n\
263 fanotify_mark\n264 name_to_handle_at\n265 open_by_handle_at\n266 clock_adjtime\n267 syncfs\n\
268 setns\n269 sendmmsg\n270 process_vm_readv\n271 process_vm_writev\n272 kcmp\n\
273 finit_module\n274 sched_setattr\n275 sched_getattr\n276 renameat2\n277 seccomp\n\
278 getrandom\n279 memfd_create\n280 bpf\n281 execveat\n282 userfaultfd\n283 membarrier\n\
284 mlock2\n285 copy_file_range\n286 preadv2\n287 pwritev2\n288 pkey_mprotect\n289 pkey_alloc\n\
290 pkey_free\n291 statx\n292 io_pgetevents\n293 rseq\n294 kexec_file_load\n\
424 pidfd_send_signal\n425 io_uring_setup\n426 io_uring_enter\n427 io_uring_register\n\
428 open_tree\n429 move_mount\n430 fsopen\n431 fsconfig\n432 fsmount\n433 fspick\n\
434 pidfd_open\n435 clone3\n436 close_range\n437 openat2\n438 pidfd_getfd\n439 faccessat2\n\
440 process_madvise\n441 epoll_pwait2\n442 mount_setattr\n443 quotactl_fd\n\
444 landlock_create_ruleset\n445 landlock_add_rule\n446 landlock_restrict_self\n\
447 memfd_secret\n448 process_mrelease\n449 futex_waitv\n450 set_mempolicy_home_node\n\
451 cachestat\n452 fchmodat2\n453 map_shadow_stack\n454 futex_wake\n455 futex_wait\n\
456 futex_requeue\n457 statmount\n458 listmount\n459 lsm_get_self_attr\n460 lsm_set_self_attr\n\
461 lsm_list_modules\n462 mseal\n463 setxattrat\n464 getxattrat\n465 listxattrat\n\
466 removexattrat\n467 open_tree_attr\n468 file_getattr\n469 file_setattr\n470 listns\n\
471 rseq_slice_yield\n");
