// understudy-inject PID             opens a userfaultfd inside process PID and prints "descriptor N"
// understudy-inject PID close N     closes descriptor N of process PID, if it is a userfaultfd, and prints "closed N"
// understudy-inject practice        is an event loop to practise on: prints "memory ADDRESS" (hexadecimal, of 16 written pages), then for every
//                                   byte N (0 to 15) that it reads adds one to the first byte of page N and answers "w"; ends with its input
//
// The process is not ours and must survive whatever happens to this one, a SIGKILL at any instruction included:
//
// - Its main thread is seized (no signal, no stop of its own) and watched until it enters ppoll(2), the one system call in which an event loop
//   like QEMU's can take any return value for "look again". There the number and the first argument are exchanged, the kernel runs our call at
//   ppoll's own instruction, and the registers are put back so that the kernel restarts ppoll as if it had not been entered.
// - If the tracer dies, the kernel detaches it and the thread runs on with the registers it has then: at worst ppoll returns once with
//   a small number or EPERM. No code, no stack and no other register of the process is ever changed.
// - PTRACE_O_TRACESYSGOOD makes a stop that nobody collected any more carry a number that is no signal. A single step would carry SIGTRAP, and kill.
//
// Exit status: 0 done, 1 failed, 64 usage, 75 the main thread did not come by in time (try again). Messages go to standard error.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef __x86_64__
#error "understudy-inject knows the registers and the system call instruction of x86-64 only"
#endif

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { exit_failed = 1, exit_usage = 64, exit_again = 75, patience_seconds = 5 };

// Inside the kernel only: "interrupted, run it again whatever happens" (include/linux/errno.h).
static const long restart_always = -513;

static pid_t target;
static volatile sig_atomic_t out_of_time;

static void on_alarm(int number) {
    (void)number;
    if (out_of_time) _exit(exit_again);  // stuck while letting go: the kernel detaches
    out_of_time = 1;
    alarm(1);
}

static void hold_alarm(int how) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGALRM);
    sigprocmask(how, &set, NULL);
}

// For tests: stops this process at step K, so that it can be killed exactly there.
static void step(int number) {
    static int pause_at = -1;
    if (pause_at < 0) {
        const char *value = getenv("UNDERSTUDY_INJECT_PAUSE_AT");
        pause_at = value ? atoi(value) : 0;
    }
    if (number == pause_at) raise(SIGSTOP);
}

static int is_event_stop(int status) { return status >> 16 == PTRACE_EVENT_STOP; }
static int is_syscall_stop(int status) { return WSTOPSIG(status) == (SIGTRAP | 0x80); }

// An ordinary signal that arrived meanwhile is passed on; everything else carries none.
static long signal_of(int status) {
    return is_event_stop(status) || is_syscall_stop(status) || status >> 16 ? 0 : WSTOPSIG(status);
}

// Lets go of the process and exits. While its registers are not its own, this is reached only when the process is gone.
__attribute__((noreturn, format(printf, 2, 3))) static void give_up(int status, const char *format, ...) {
    int saved = errno, ignored;
    va_list arguments;
    va_start(arguments, format);
    fputs("understudy-inject: ", stderr);
    vfprintf(stderr, format, arguments);
    fprintf(stderr, saved ? ": %s (errno %d)\n" : "\n", strerror(saved), saved);
    va_end(arguments);
    // Only a stopped thread can be let go in good order.
    if (ptrace(PTRACE_DETACH, target, 0, 0) && ptrace(PTRACE_INTERRUPT, target, 0, 0) == 0 && waitpid(target, &ignored, __WALL) == target)
        ptrace(PTRACE_DETACH, target, 0, signal_of(ignored));
    exit(status);
}

// Waits for the next stop of the thread. The kernel's own bookkeeping is never touched when the time is up.
static int wait_for_stop(void) {
    int status;
    if (waitpid(target, &status, __WALL) < 0) {
        if (errno == EINTR) {
            errno = 0;
            give_up(exit_again, "the main thread of process %d did not enter ppoll within %d s; is it an event loop?", target, patience_seconds);
        }
        give_up(exit_failed, "waiting for process %d", target);
    }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
        errno = ESRCH;
        give_up(exit_failed, "process %d ended", target);
    }
    return status;
}

static void go_on(enum __ptrace_request how, long with_signal) {
    if (ptrace(how, target, 0, with_signal)) give_up(exit_failed, "resuming process %d", target);
}

static struct user_regs_struct registers(void) {
    struct user_regs_struct result;
    if (ptrace(PTRACE_GETREGS, target, 0, &result)) give_up(exit_failed, "reading the registers of process %d", target);
    return result;
}

static void set_registers(struct user_regs_struct *values) {
    if (ptrace(PTRACE_SETREGS, target, 0, values)) give_up(exit_failed, "writing the registers of process %d", target);
}

static int ends_in_syscall_instruction(uint64_t rip) {
    uint8_t bytes[2] = {0, 0};
    struct iovec local = {bytes, 2}, remote = {(void *)(uintptr_t)(rip - 2), 2};
    return process_vm_readv(target, &local, 1, &remote, 1, 0) == 2 && bytes[0] == 0x0f && bytes[1] == 0x05;
}

// Lets the thread run until it is about to enter ppoll by the 64-bit instruction; returns the registers of that moment.
static struct user_regs_struct run_to_ppoll(int status) {
    for (;;) {
        go_on(PTRACE_SYSCALL, signal_of(status));
        step(3);  // the thread comes to its next stop, which nobody has collected
        status = wait_for_stop();
        if (!is_syscall_stop(status)) continue;
        struct __ptrace_syscall_info info;
        memset(&info, 0, sizeof info);
        if (ptrace(PTRACE_GET_SYSCALL_INFO, target, sizeof info, &info) < 0) give_up(exit_failed, "asking for the system call of process %d", target);
        struct user_regs_struct regs = registers();
        if (info.op == PTRACE_SYSCALL_INFO_ENTRY && info.entry.nr == SYS_ppoll && ends_in_syscall_instruction(regs.rip)) return regs;
    }
}

// Runs one system call in place of the ppoll that the stopped thread enters next; leaves the thread stopped with ppoll to be restarted.
static long run_in_place_of_ppoll(int *status, long number, long argument) {
    struct user_regs_struct saved = run_to_ppoll(*status), changed = saved;
    step(4);
    hold_alarm(SIG_BLOCK);  // until the registers are restored only the kernel is waited for: no reason to leave in between
    changed.orig_rax = number;
    changed.rdi = argument;
    set_registers(&changed);
    step(5);
    go_on(PTRACE_SYSCALL, 0);
    step(6);
    *status = wait_for_stop();
    step(7);
    long result = (long)registers().rax;
    // The next stop lies inside signal handling, where the kernel restarts system calls by the registers it finds.
    if (ptrace(PTRACE_INTERRUPT, target, 0, 0)) give_up(exit_failed, "interrupting process %d", target);
    step(8);
    do {
        go_on(PTRACE_CONT, 0);
        step(9);
        *status = wait_for_stop();
    } while (!is_event_stop(*status));
    step(10);
    saved.rax = restart_always;
    set_registers(&saved);
    step(11);
    hold_alarm(SIG_UNBLOCK);
    return result;
}

static int is_userfaultfd(long descriptor) {
    char path[64], link[64] = "";
    snprintf(path, sizeof path, "/proc/%d/fd/%ld", target, descriptor);
    return readlink(path, link, sizeof link - 1) > 0 && strcmp(link, "anon_inode:[userfaultfd]") == 0;
}

static int seize(void) {
    struct sigaction action = {.sa_handler = on_alarm};
    sigaction(SIGALRM, &action, NULL);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    alarm(patience_seconds);
    step(1);
    if (ptrace(PTRACE_SEIZE, target, 0, PTRACE_O_TRACESYSGOOD)) give_up(exit_failed, "attaching to process %d (root needed; no debugger attached)", target);
    if (ptrace(PTRACE_INTERRUPT, target, 0, 0)) give_up(exit_failed, "interrupting process %d", target);
    int status = wait_for_stop();
    if (is_event_stop(status) && WSTOPSIG(status) != SIGTRAP) {
        ptrace(PTRACE_DETACH, target, 0, 0);
        fprintf(stderr, "understudy-inject: process %d is stopped by signal %d; continue it first\n", target, WSTOPSIG(status));
        exit(exit_again);
    }
    step(2);
    return status;
}

static long open_userfaultfd(int *status) {
    long result = run_in_place_of_ppoll(status, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
    if (result == -EPERM) result = run_in_place_of_ppoll(status, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    return result;
}

static int practise(void) {
    enum { pages = 16, page = 4096 };
    volatile unsigned char *memory = mmap(NULL, pages * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return exit_failed;
    for (int index = 0; index < pages; index++) memory[index * page] = 1;
    printf("memory %lx\n", (unsigned long)memory);
    fflush(stdout);
    for (;;) {
        struct pollfd input = {STDIN_FILENO, POLLIN, 0};
        // Whatever it returns, only what it says of the input counts: an injection makes it return once more.
        ppoll(&input, 1, NULL, NULL);
        if (input.revents == 0) continue;
        unsigned char number;
        if (read(STDIN_FILENO, &number, 1) != 1) return 0;
        if (number >= pages) return exit_usage;
        memory[number * page]++;
        if (write(STDOUT_FILENO, "w", 1) != 1) return exit_failed;
    }
}

int main(int count, char **arguments) {
    if (count == 2 && strcmp(arguments[1], "practice") == 0) return practise();
    char *end = "x";
    long descriptor = -1;
    int closing = count == 4 && strcmp(arguments[2], "close") == 0;
    if (count == 2 || closing) target = (pid_t)strtol(arguments[1], &end, 10);
    if (closing && *end == 0) descriptor = strtol(arguments[3], &end, 10);
    if (*end != 0 || target <= 1 || (closing && descriptor < 0)) {
        fprintf(stderr, "usage: understudy-inject PID [close DESCRIPTOR] | practice\n");
        return exit_usage;
    }
    int status = seize();
    errno = 0;
    if (closing && !is_userfaultfd(descriptor)) give_up(exit_failed, "descriptor %ld of process %d is no userfaultfd", descriptor, target);
    long result = closing ? run_in_place_of_ppoll(&status, SYS_close, descriptor) : open_userfaultfd(&status);
    if (ptrace(PTRACE_DETACH, target, 0, signal_of(status))) give_up(exit_failed, "detaching from process %d", target);
    step(12);
    if (result < 0) {
        fprintf(stderr, "understudy-inject: %s inside process %d: %s (errno %ld)\n", closing ? "close" : "userfaultfd", target, strerror((int)-result), -result);
        return exit_failed;
    }
    printf("%s %ld\n", closing ? "closed" : "descriptor", closing ? descriptor : result);
    return 0;
}
