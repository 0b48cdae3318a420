//! System calls of 32-bit x86, by number.
//!
//! # Source
//!
//! Linux 6.1, `arch/x86/include/generated/uapi/asm/unistd_32.h`: every `__NR_` line. Numbers from 424
//! on are those of every ABI.

use super::Calls;

/// Number and name of each, in the order of the numbers.
#[rustfmt::skip]
pub(crate) const CALLS: Calls = Calls("\
0 restart_syscall\n1 exit\n2 fork\n3 read\n4 write\n5 open\n6 close\n7 waitpid\n8 creat\n\
9 link\n10 unlink\n11 execve\n12 chdir\n13 time\n14 mknod\n15 chmod\n16 lchown\n17 break\n\
18 oldstat\n19 lseek\n20 getpid\n21 mount\n22 umount\n23 setuid\n24 getuid\n25 stime\n\
26 ptrace\n27 alarm\n28 oldfstat\n29 pause\n30 utime\n31 stty\n32 gtty\n33 access\n34 nice\n\
35 ftime\n36 sync\n37 kill\n38 rename\n39 mkdir\n40 rmdir\n41 dup\n42 pipe\n43 times\n44 prof\n\
45 brk\n46 setgid\n47 getgid\n48 signal\n49 geteuid\n50 getegid\n51 acct\n52 umount2\n53 lock\n\
54 ioctl\n55 fcntl\n56 mpx\n57 setpgid\n58 ulimit\n59 oldolduname\n60 umask\n61 chroot\n\
62 ustat\n63 dup2\n64 getppid\n65 getpgrp\n66 setsid\n67 sigaction\n68 sgetmask\n69 ssetmask\n\
70 setreuid\n71 setregid\n72 sigsuspend\n73 sigpending\n74 sethostname\n75 setrlimit\n\
76 getrlimit\n77 getrusage\n78 gettimeofday\n79 settimeofday\n80 getgroups\n81 setgroups\n\
82 select\n83 symlink\n84 oldlstat\n85 readlink\n86 uselib\n87 swapon\n88 reboot\n89 readdir\n\
90 mmap\n91 munmap\n92 truncate\n93 ftruncate\n94 fchmod\n95 fchown\n96 getpriority\n\
97 setpriority\n98 profil\n99 statfs\n100 fstatfs\n101 ioperm\n102 socketcall\n103 syslog\n\
104 setitimer\n105 getitimer\n106 stat\n107 lstat\n108 fstat\n109 olduname\n110 iopl\n\
111 vhangup\n112 idle\n113 vm86old\n114 wait4\n115 swapoff\n116 sysinfo\n117 ipc\n118 fsync\n\
119 sigreturn\n120 clone\n121 setdomainname\n122 uname\n123 modify_ldt\n124 adjtimex\n\
125 mprotect\n126 sigprocmask\n127 create_module\n128 init_module\n129 delete_module\n\
130 get_kernel_syms\n131 quotactl\n132 getpgid\n133 fchdir\n134 bdflush\n135 sysfs\n\
136 personality\n137 afs_syscall\n138 setfsuid\n139 setfsgid\n140 _llseek\n141 getdents\n\
142 _newselect\n143 flock\n144 msync\n145 readv\n146 writev\n147 getsid\n148 fdatasync\n\
149 _sysctl\n150 mlock\n151 munlock\n152 mlockall\n153 munlockall\n154 sched_setparam\n\
155 sched_getparam\n156 sched_setscheduler\n157 sched_getscheduler\n158 sched_yield\n\
159 sched_get_priority_max\n160 sched_get_priority_min\n161 sched_rr_get_interval\n\
162 nanosleep\n163 mremap\n164 setresuid\n165 getresuid\n166 vm86\n167 query_module\n168 poll\n\
169 nfsservctl\n170 setresgid\n171 getresgid\n172 prctl\n173 rt_sigreturn\n174 rt_sigaction\n\
175 rt_sigprocmask\n176 rt_sigpending\n177 rt_sigtimedwait\n178 rt_sigqueueinfo\n\
179 rt_sigsuspend\n180 pread64\n181 pwrite64\n182 chown\n183 getcwd\n184 capget\n185 capset\n\
186 sigaltstack\n187 sendfile\n188 getpmsg\n189 putpmsg\n190 vfork\n191 ugetrlimit\n192 mmap2\n\
193 truncate64\n194 ftruncate64\n195 stat64\n196 lstat64\n197 fstat64\n198 lchown32\n\
199 getuid32\n200 getgid32\n201 geteuid32\n202 getegid32\n203 setreuid32\n204 setregid32\n\
205 getgroups32\n206 setgroups32\n207 fchown32\n208 setresuid32\n209 getresuid32\n\
210 setresgid32\n211 getresgid32\n212 chown32\n213 setuid32\n214 setgid32\n215 setfsuid32\n\
216 setfsgid32\n217 pivot_root\n218 mincore\n219 madvise\n220 getdents64\n221 fcntl64\n\
224 gettid\n225 readahead\n226 setxattr\n227 lsetxattr\n228 fsetxattr\n229 getxattr\n\
230 lgetxattr\n231 fgetxattr\n232 listxattr\n233 llistxattr\n234 flistxattr\n235 removexattr\n\
236 lremovexattr\n237 fremovexattr\n238 tkill\n239 sendfile64\n240 futex\n\
241 sched_setaffinity\n242 sched_getaffinity\n243 set_thread_area\n244 get_thread_area\n\
245 io_setup\n246 io_destroy\n247 io_getevents\n248 io_submit\n249 io_cancel\n250 fadvise64\n\
252 exit_group\n253 lookup_dcookie\n254 epoll_create\n255 epoll_ctl\n256 epoll_wait\n\
257 remap_file_pages\n258 set_tid_address\n259 timer_create\n260 timer_settime\n\
261 timer_gettime\n262 timer_getoverrun\n263 timer_delete\n264 clock_settime\n\
265 clock_gettime\n266 clock_getres\n267 clock_nanosleep\n268 statfs64\n269 fstatfs64\n\
270 tgkill\n271 utimes\n272 fadvise64_64\n273 vserver\n274 mbind\n275 get_mempolicy\n\
276 set_mempolicy\n277 mq_open\n278 mq_unlink\n279 mq_timedsend\n280 mq_timedreceive\n\
281 mq_notify\n282 mq_getsetattr\n283 kexec_load\n284 waitid\n286 add_key\n287 request_key\n\
288 keyctl\n289 ioprio_set\n290 ioprio_get\n291 inotify_init\n292 inotify_add_watch\n\
293 inotify_rm_watch\n294 migrate_pages\n295 openat\n296 mkdirat\n297 mknodat\n298 fchownat\n\
299 futimesat\n300 fstatat64\n301 unlinkat\n302 renameat\n303 linkat\n304 symlinkat\n\
305 readlinkat\n306 fchmodat\n307 faccessat\n308 pselect6\n309 ppoll\n310 unshare\n\
311 set_robust_list\n312 get_robust_list\n313 splice\n314 sync_file_range\n315 tee\n\
316 vmsplice\n317 move_pages\n318 getcpu\n319 epoll_pwait\n320 utimensat\n321 signalfd\n\
322 timerfd_create\n323 eventfd\n324 fallocate\n325 timerfd_settime\n326 timerfd_gettime\n\
327 signalfd4\n328 eventfd2\n329 epoll_create1\n330 dup3\n331 pipe2\n332 inotify_init1\n\
333 preadv\n334 pwritev\n335 rt_tgsigqueueinfo\n336 perf_event_open\n337 recvmmsg\n\
338 fanotify_init\n339 fanotify_mark\n340 prlimit64\n341 name_to_handle_at\n\
342 open_by_handle_at\n343 clock_adjtime\n344 syncfs\n345 sendmmsg\n346 setns\n\
347 process_vm_readv\n348 process_vm_writev\n349 kcmp\n350 finit_module\n351 sched_setattr\n\
352 sched_getattr\n353 renameat2\n354 seccomp\n355 getrandom\n356 memfd_create\n357 bpf\n\
358 execveat\n359 socket\n360 socketpair\n361 bind\n362 connect\n363 listen\n364 accept4\n\
365 getsockopt\n366 setsockopt\n367 getsockname\n368 getpeername\n369 sendto\n370 sendmsg\n\
371 recvfrom\n372 recvmsg\n373 shutdown\n374 userfaultfd\n375 membarrier\n376 mlock2\n\
377 copy_file_range\n378 preadv2\n379 pwritev2\n380 pkey_mprotect\n381 pkey_alloc\n\
382 pkey_free\n383 statx\n384 arch_prctl\n385 io_pgetevents\n386 rseq\n393 semget\n394 semctl\n\
395 shmget\n396 shmctl\n397 shmat\n398 shmdt\n399 msgget\n400 msgsnd\n401 msgrcv\n402 msgctl\n\
403 clock_gettime64\n404 clock_settime64\n405 clock_adjtime64\n406 clock_getres_time64\n\
407 clock_nanosleep_time64\n408 timer_gettime64\n409 timer_settime64\n410 timerfd_gettime64\n\
411 timerfd_settime64\n412 utimensat_time64\n413 pselect6_time64\n414 ppoll_time64\n\
416 io_pgetevents_time64\n417 recvmmsg_time64\n418 mq_timedsend_time64\n\
419 mq_timedreceive_time64\n420 semtimedop_time64\n421 rt_sigtimedwait_time64\n\
422 futex_time64\n423 sched_rr_get_interval_time64\n424 pidfd_send_signal\n425 io_uring_setup\n\
426 io_uring_enter\n427 io_uring_register\n428 open_tree\n429 move_mount\n430 fsopen\n\
431 fsconfig\n432 fsmount\n433 fspick\n434 pidfd_open\n435 clone3\n436 close_range\n\
437 openat2\n438 pidfd_getfd\n439 faccessat2\n440 process_madvise\n441 epoll_pwait2\n\
442 mount_setattr\n443 quotactl_fd\n444 landlock_create_ruleset\n445 landlock_add_rule\n\
446 landlock_restrict_self\n447 memfd_secret\n448 process_mrelease\n449 futex_waitv\n\
450 set_mempolicy_home_node\n");
