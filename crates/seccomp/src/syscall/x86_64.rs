//! System calls of x86_64, by number.
//!
//! # Source
//!
//! Linux 7.2, `arch/x86/include/generated/uapi/asm/unistd_64.h`: every `__NR_` line.

use super::Calls;

/// Number and name of each, in the order of the numbers.
#[rustfmt::skip]
pub(crate) const CALLS: Calls = Calls("\
0 read\n1 write\n2 open\n3 close\n4 stat\n5 fstat\n6 lstat\n7 poll\n8 lseek\n9 mmap\n\
10 mprotect\n11 munmap\n12 brk\n13 rt_sigaction\n14 rt_sigprocmask\n15 rt_sigreturn\n16 ioctl\n\
17 pread64\n18 pwrite64\n19 readv\n20 writev\n21 access\n22 pipe\n23 select\n24 sched_yield\n\
25 mremap\n26 msync\n27 mincore\n28 madvise\n29 shmget\n30 shmat\n31 shmctl\n32 dup\n33 dup2\n\
34 pause\n35 nanosleep\n36 getitimer\n37 alarm\n38 setitimer\n39 getpid\n40 sendfile\n\
41 socket\n42 connect\n43 accept\n44 sendto\n45 recvfrom\n46 sendmsg\n47 recvmsg\n48 shutdown\n\
49 bind\n50 listen\n51 getsockname\n52 getpeername\n53 socketpair\n54 setsockopt\n\
55 getsockopt\n56 clone\n57 fork\n58 vfork\n59 execve\n60 exit\n61 wait4\n62 kill\n63 uname\n\
64 semget\n65 semop\n66 semctl\n67 shmdt\n68 msgget\n69 msgsnd\n70 msgrcv\n71 msgctl\n72 fcntl\n\
73 flock\n74 fsync\n75 fdatasync\n76 truncate\n77 ftruncate\n78 getdents\n79 getcwd\n80 chdir\n\
81 fchdir\n82 rename\n83 mkdir\n84 rmdir\n85 creat\n86 link\n87 unlink\n88 symlink\n\
89 readlink\n90 chmod\n91 fchmod\n92 chown\n93 fchown\n94 lchown\n95 umask\n96 gettimeofday\n\
97 getrlimit\n98 getrusage\n99 sysinfo\n100 times\n101 ptrace\n102 getuid\n103 syslog\n\
104 getgid\n105 setuid\n106 setgid\n107 geteuid\n108 getegid\n109 setpgid\n110 getppid\n\
111 getpgrp\n112 setsid\n113 setreuid\n114 setregid\n115 getgroups\n116 setgroups\n\
117 setresuid\n118 getresuid\n119 setresgid\n120 getresgid\n121 getpgid\n122 setfsuid\n\
123 setfsgid\n124 getsid\n125 capget\n126 capset\n127 rt_sigpending\n128 rt_sigtimedwait\n\
129 rt_sigqueueinfo\n130 rt_sigsuspend\n131 sigaltstack\n132 utime\n133 mknod\n134 uselib\n\
135 personality\n136 ustat\n137 statfs\n138 fstatfs\n139 sysfs\n140 getpriority\n\
141 setpriority\n142 sched_setparam\n143 sched_getparam\n144 sched_setscheduler\n\
145 sched_getscheduler\n146 sched_get_priority_max\n147 sched_get_priority_min\n\
148 sched_rr_get_interval\n149 mlock\n150 munlock\n151 mlockall\n152 munlockall\n153 vhangup\n\
154 modify_ldt\n155 pivot_root\n156 _sysctl\n157 prctl\n158 arch_prctl\n159 adjtimex\n\
160 setrlimit\n161 chroot\n162 sync\n163 acct\n164 settimeofday\n165 mount\n166 umount2\n\
167 swapon\n168 swapoff\n169 reboot\n170 sethostname\n171 setdomainname\n172 iopl\n173 ioperm\n\
174 create_module\n175 init_module\n176 delete_module\n177 get_kernel_syms\n178 query_module\n\
179 quotactl\n180 nfsservctl\n181 getpmsg\n182 putpmsg\n183 afs_syscall\n184 tuxcall\n\
185 security\n186 gettid\n187 readahead\n188 setxattr\n189 lsetxattr\n190 fsetxattr\n\
191 getxattr\n192 lgetxattr\n193 fgetxattr\n194 listxattr\n195 llistxattr\n196 flistxattr\n\
197 removexattr\n198 lremovexattr\n199 fremovexattr\n200 tkill\n201 time\n202 futex\n\
203 sched_setaffinity\n204 sched_getaffinity\n205 set_thread_area\n206 io_setup\n\
207 io_destroy\n208 io_getevents\n209 io_submit\n210 io_cancel\n211 get_thread_area\n\
212 lookup_dcookie\n213 epoll_create\n214 epoll_ctl_old\n215 epoll_wait_old\n\
216 remap_file_pages\n217 getdents64\n218 set_tid_address\n219 restart_syscall\n220 semtimedop\n\
221 fadvise64\n222 timer_create\n223 timer_settime\n224 timer_gettime\n225 timer_getoverrun\n\
226 timer_delete\n227 clock_settime\n228 clock_gettime\n229 clock_getres\n230 clock_nanosleep\n\
231 exit_group\n232 epoll_wait\n233 epoll_ctl\n234 tgkill\n235 utimes\n236 vserver\n237 mbind\n\
238 set_mempolicy\n239 get_mempolicy\n240 mq_open\n241 mq_unlink\n242 mq_timedsend\n\
243 mq_timedreceive\n244 mq_notify\n245 mq_getsetattr\n246 kexec_load\n247 waitid\n248 add_key\n\
249 request_key\n250 keyctl\n251 ioprio_set\n252 ioprio_get\n253 inotify_init\n\
254 inotify_add_watch\n255 inotify_rm_watch\n256 migrate_pages\n257 openat\n258 mkdirat\n\
259 mknodat\n260 fchownat\n261 futimesat\n262 newfstatat\n263 unlinkat\n264 renameat\n\
265 linkat\n266 symlinkat\n267 readlinkat\n268 fchmodat\n269 faccessat\n270 pselect6\n\
271 ppoll\n272 unshare\n273 set_robust_list\n274 get_robust_list\n275 splice\n276 tee\n\
277 sync_file_range\n278 vmsplice\n279 move_pages\n280 utimensat\n281 epoll_pwait\n\
282 signalfd\n283 timerfd_create\n284 eventfd\n285 fallocate\n286 timerfd_settime\n\
287 timerfd_gettime\n288 accept4\n289 signalfd4\n290 eventfd2\n291 epoll_create1\n292 dup3\n\
293 pipe2\n294 inotify_init1\n295 preadv\n296 pwritev\n297 rt_tgsigqueueinfo\n\
298 perf_event_open\n299 recvmmsg\n300 fanotify_init\n301 fanotify_mark\n302 prlimit64\n\
303 name_to_handle_at\n304 open_by_handle_at\n305 clock_adjtime\n306 syncfs\n307 sendmmsg\n\
308 setns\n309 getcpu\n310 process_vm_readv\n311 process_vm_writev\n312 kcmp\n313 finit_module\n\
314 sched_setattr\n315 sched_getattr\n316 renameat2\n317 seccomp\n318 getrandom\n\
319 memfd_create\n320 kexec_file_load\n321 bpf\n322 execveat\n323 userfaultfd\n324 membarrier\n\
325 mlock2\n326 copy_file_range\n327 preadv2\n328 pwritev2\n329 pkey_mprotect\n330 pkey_alloc\n\
331 pkey_free\n332 statx\n333 io_pgetevents\n334 rseq\n335 uretprobe\n336 uprobe\n\
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
