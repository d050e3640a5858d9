#include "tests/sim/batch.h"

#include "tests/sim/world.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define COVERAGE_SEEDS_MIN 200u  /* from so many on, each fault class must have fired */
#define CHANGES_SEEDS_MIN  1000u /* each kind of change been made */
#define PATHS_SEEDS_MIN    5000u /* and each path been taken */
#define FAILURES_KEPT_MAX  1000u

struct report {
    uint64_t seed;
    struct world_result result;
};

static_assert(sizeof(struct report) <= 4096, "a report is written to the pipe in one piece");

/* What the processes of a batch share. */
struct shared {
    _Atomic uint64_t next;
    _Atomic bool stop;
    _Atomic uint64_t at[BATCH_JOBS_MAX]; /* the seed that each process works on; 0: between two */
};

struct batch {
    const struct batch_options *options;
    struct shared *shared;
    pid_t workers[BATCH_JOBS_MAX];
    int read_end;
    int write_end;
    uint64_t done;
    uint64_t operations;
    uint64_t operations_ok;
    uint64_t events;
    uint64_t simulated_ns;
    uint64_t crashes_unsynced;
    uint64_t fired[FAULT_CLASS_COUNT];
    uint64_t fired_in[FAULT_CLASS_COUNT];
    uint64_t fired_moving[FAULT_CLASS_COUNT];
    uint64_t paths[PATH_COUNT];
    struct {
        uint64_t seeds;
        uint64_t operations;
        uint64_t retried;
        uint64_t rotten;
        uint64_t ends[REGISTERS_UNKNOWN + 1];
        uint64_t without_majority;
        uint64_t judged;
        uint64_t counters;
    } registers;
    uint64_t last_rotten;
    uint64_t given_up;
    uint64_t holes;
    uint64_t steward_seeds;
    struct steward_figures steward;
    uint64_t failures;
    struct {
        uint64_t seed;
        char checker[32];
    } failed[FAILURES_KEPT_MAX];
    struct timespec began;
};

static double seconds_since(const struct timespec *began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began->tv_sec) + (double)(now.tv_nsec - began->tv_nsec) * 1e-9;
}

/* -- workers
 * ---------------------------------------------------------------------------------------- */

static _Noreturn void worker_main(struct batch *batch, uint32_t index)
{
    struct shared *shared = batch->shared;
    uint64_t end = batch->options->start + batch->options->seeds;
    while (!atomic_load(&shared->stop)) {
        uint64_t seed = atomic_fetch_add(&shared->next, 1);
        if (seed >= end)
            break;
        atomic_store(&shared->at[index], seed + 1);
        struct sim_options options = sim_options_draw(seed, batch->options->without);
        struct report report = {.seed = seed};
        report.result = world_run(&options, false, NULL);
        if (write(batch->write_end, &report, sizeof report) != sizeof report)
            _exit(3);
        atomic_store(&shared->at[index], 0);
    }
    _exit(0);
}

static void worker_fork(struct batch *batch, uint32_t index)
{
    fflush(NULL);
    batch->workers[index] = fork();
    CHECK(batch->workers[index] >= 0);
    if (batch->workers[index] == 0) {
        close(batch->read_end);
        int silence = open("/dev/null", O_WRONLY);
        if (silence >= 0)
            dup2(silence, STDERR_FILENO);
        worker_main(batch, index);
    }
}

/* -- results
 * ---------------------------------------------------------------------------------------- */

static void take_failure(struct batch *batch, uint64_t seed, const char *checker)
{
    if (batch->failures < FAILURES_KEPT_MAX) {
        batch->failed[batch->failures].seed = seed;
        snprintf(batch->failed[batch->failures].checker, sizeof batch->failed[0].checker, "%s",
                 checker);
    }
    batch->failures++;
    if (!batch->options->keep_going)
        atomic_store(&batch->shared->stop, true);
}

static void take_report(struct batch *batch, const struct report *report)
{
    const struct world_result *result = &report->result;
    batch->done++;
    batch->operations += result->operations;
    batch->operations_ok += result->operations_ok;
    batch->events += result->events;
    batch->simulated_ns += result->simulated_ns;
    batch->crashes_unsynced += result->figures.crashes_unsynced;
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        batch->fired[class] += result->figures.fired[class];
        batch->fired_in[class] += result->figures.fired[class] > 0;
        batch->fired_moving[class] += result->figures.fired_moving[class];
    }
    for (uint32_t path = 0; path < PATH_COUNT; path++)
        batch->paths[path] += result->figures.paths[path];
    batch->registers.seeds += result->figures.registers.operations > 0;
    batch->registers.operations += result->figures.registers.operations;
    batch->registers.retried += result->figures.registers.retried;
    for (uint32_t end = 0; end <= REGISTERS_UNKNOWN; end++)
        batch->registers.ends[end] += result->figures.registers.ends[end];
    batch->registers.without_majority += result->figures.registers.without_majority;
    batch->registers.rotten += result->figures.registers.rotten;
    batch->registers.judged += result->figures.registers.judged;
    batch->registers.counters += result->figures.registers.counters;
    batch->last_rotten += result->figures.last_rotten;
    batch->given_up += result->figures.given_up;
    batch->holes += result->figures.holes;
    const struct steward_figures *steward = &result->figures.steward;
    batch->steward_seeds += steward->asked > 0;
    batch->steward.commits += steward->commits;
    batch->steward.aborts += steward->aborts;
    batch->steward.joins += steward->joins;
    batch->steward.deaths += steward->deaths;
    batch->steward.refused += steward->refused;
    batch->steward.unknown += steward->unknown;
    batch->steward.finished += steward->finished;
    batch->steward.moved += steward->moved;
    batch->steward.replicated_more += steward->replicated_more;
    batch->steward.replicated_fewer += steward->replicated_fewer;
    batch->steward.replicated_back += steward->replicated_back;
    batch->steward.replicated_registers += steward->replicated_registers;
    if (result->failure.failed)
        take_failure(batch, report->seed, result->failure.checker);
}

static void print_progress(const struct batch *batch, bool last)
{
    double seconds = seconds_since(&batch->began);
    if (!last && !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " seeds, %.0f a minute, %" PRIu64 " failed%s",
            batch->done, batch->options->seeds, (double)batch->done * 60 / seconds, batch->failures,
            last ? "\n" : "  ");
}

/* A worker that was ended by a signal leaves its seed behind; another one goes on. True: it was the
 * last one. */
static bool reap_worker(struct batch *batch)
{
    int status = 0;
    pid_t pid = waitpid(-1, &status, WNOHANG);
    bool any = false;
    for (uint32_t i = 0; i < batch->options->jobs; i++) {
        if (pid > 0 && batch->workers[i] == pid) {
            batch->workers[i] = 0;
            uint64_t at = atomic_exchange(&batch->shared->at[i], 0);
            if (at != 0) {
                batch->done++;
                take_failure(batch, at - 1, "aborted");
                if (!atomic_load(&batch->shared->stop))
                    worker_fork(batch, i);
            }
        }
        any |= batch->workers[i] != 0;
    }
    return !any;
}

static void batch_loop(struct batch *batch)
{
    struct timespec shown = batch->began;
    bool ended = false;
    for (;;) {
        struct report report;
        ssize_t got = read(batch->read_end, &report, sizeof report);
        if (got == (ssize_t)sizeof report) {
            take_report(batch, &report);
        } else {
            CHECK(got < 0 && errno == EAGAIN);
            if (ended)
                break;
            ended = reap_worker(batch);
            if (!ended)
                nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        }
        if (seconds_since(&shown) > 0.5) {
            clock_gettime(CLOCK_MONOTONIC, &shown);
            print_progress(batch, false);
        }
    }
}

/* -- the end
 * ------------------------------------------------------------------------------------------ */

static void print_classes(const char *option, uint32_t classes)
{
    bool first = true;
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        if ((classes & (1u << class)) == 0)
            continue;
        printf("%s%s", first ? option : ",", fault_class_name((enum fault_class) class));
        first = false;
    }
}

static void on_abort(int number)
{
    world_print_last(stderr);
    fflush(stderr);
    signal(number, SIG_DFL);
    raise(number);
}

/* Once more in a process of its own, with its last events. */
static void show_failure(const struct batch_options *options, uint64_t seed)
{
    fflush(NULL);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        signal(SIGABRT, on_abort);
        signal(SIGSEGV, on_abort);
        struct sim_options drawn = sim_options_draw(seed, options->without);
        sim_options_print(&drawn, stderr);
        struct world_result result = world_run(&drawn, true, NULL);
        fprintf(stderr, "seed %" PRIu64 ": %s: %s\n", seed, result.failure.checker,
                result.failure.what);
        _exit(0);
    }
    int status = 0;
    waitpid(pid, &status, 0);
    printf("reproduce: %s --seed %" PRIu64 " --trace", options->program, seed);
    print_classes(" --without ", options->without);
    printf("\n");
}

static int compare_failures(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void print_failures(struct batch *batch)
{
    uint64_t kept = batch->failures < FAILURES_KEPT_MAX ? batch->failures : FAILURES_KEPT_MAX;
    qsort(batch->failed, kept, sizeof batch->failed[0], compare_failures);
    printf("%" PRIu64 " seeds failed:", batch->failures);
    for (uint64_t i = 0; i < kept && i < 40; i++)
        printf(" %" PRIu64 " (%s)", batch->failed[i].seed, batch->failed[i].checker);
    printf("%s\n", kept > 40 ? " ..." : "");
    show_failure(batch->options, batch->failed[0].seed);
}

/* True when every class that may fire has. */
static bool print_faults(const struct batch *batch)
{
    bool all = true;
    printf("%-20s %12s %10s %12s\n", "fault", "fired", "in seeds", "in changes");
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        bool left_out = (batch->options->without & (1u << class)) != 0;
        bool never = batch->fired[class] == 0 && !left_out;
        printf("%-20s %12" PRIu64 " %10" PRIu64 " %12" PRIu64 "%s\n",
               fault_class_name((enum fault_class) class), batch->fired[class],
               batch->fired_in[class], batch->fired_moving[class],
               left_out ? "  left out"
               : never  ? "  never"
                        : "");
        all &= !never;
    }
    printf("%-20s %12" PRIu64 "\n", "crash, log not synced", batch->crashes_unsynced);
    return all || batch->done < COVERAGE_SEEDS_MIN;
}

/* True when every path was taken that the faults left in can lead to. */
static bool print_paths(const struct batch *batch)
{
    bool all = true;
    for (uint32_t path = 0; path < PATH_COUNT; path++) {
        printf("%-28s %10" PRIu64 "%s", path_name((enum path)path), batch->paths[path],
               path % 3 == 2 || path + 1 == PATH_COUNT ? "\n" : "   ");
        all &= batch->paths[path] > 0;
    }
    return all || batch->done < PATHS_SEEDS_MIN || batch->options->without != 0;
}

static void print_registers(const struct batch *batch)
{
    const uint64_t *ends = batch->registers.ends;
    printf("registers: %" PRIu64 " operations in %" PRIu64 " seeds (%" PRIu64 " read, %" PRIu64
           " applied, %" PRIu64 " refused, %" PRIu64 " not applied, %" PRIu64 " unknown; %" PRIu64
           " tried again), %" PRIu64 " without a majority in healed clusters; %" PRIu64
           " keys judged, %" PRIu64 " counters, %" PRIu64 " rows rotten\n",
           batch->registers.operations, batch->registers.seeds, ends[REGISTERS_READ],
           ends[REGISTERS_APPLIED], ends[REGISTERS_REFUSED], ends[REGISTERS_NOT_APPLIED],
           ends[REGISTERS_UNKNOWN], batch->registers.retried, batch->registers.without_majority,
           batch->registers.judged, batch->registers.counters, batch->registers.rotten);
    printf("last copies that rotted: %" PRIu64 " rows; given up: %" PRIu64
           " keys; blocks that could not be read: %" PRIu64 "\n",
           batch->last_rotten, batch->given_up, batch->holes);
}

/* True when whoever changes clusters has done all that there is to be done. */
static bool print_steward(const struct batch *batch)
{
    const struct steward_figures *steward = &batch->steward;
    printf("topology: %" PRIu64 " seeds with changes: %" PRIu64 " commits, %" PRIu64
           " aborts, %" PRIu64 " joins, %" PRIu64 " deaths, %" PRIu64 " refused, %" PRIu64
           " unknown; %" PRIu64 " changes ended, %" PRIu64 " partitions moved\n",
           batch->steward_seeds, steward->commits, steward->aborts, steward->joins, steward->deaths,
           steward->refused, steward->unknown, steward->finished, steward->moved);
    printf("replicas: %" PRIu64 " times more of a keyspace, %" PRIu64 " times fewer, %" PRIu64
           " of these of registers; %" PRIu64 " times taken back\n",
           steward->replicated_more, steward->replicated_fewer, steward->replicated_registers,
           steward->replicated_back);
    uint64_t often[] = {
        steward->commits,          steward->aborts,          steward->joins,
        steward->finished,         steward->moved,           steward->replicated_more,
        steward->replicated_fewer, steward->replicated_back, steward->replicated_registers};
    uint64_t rarely[] = {steward->deaths, steward->refused, steward->unknown};
    bool left_out = (batch->options->without & 1u << FAULT_MEMBERSHIP) != 0;
    bool all = true;
    for (size_t i = 0; i < sizeof often / sizeof often[0]; i++)
        all &= often[i] > 0 || batch->done < CHANGES_SEEDS_MIN;
    for (size_t i = 0; i < sizeof rarely / sizeof rarely[0]; i++)
        all &= rarely[i] > 0 || batch->done < PATHS_SEEDS_MIN;
    return all || left_out;
}

bool batch_run(const struct batch_options *options)
{
    static struct batch batch;
    batch = (struct batch){.options = options};
    int ends[2];
    CHECK(options->jobs >= 1 && options->jobs <= BATCH_JOBS_MAX);
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    batch.read_end = ends[0];
    batch.write_end = ends[1];
    CHECK(fcntl(batch.read_end, F_SETFL, O_NONBLOCK) == 0);
    batch.shared =
        mmap(NULL, sizeof *batch.shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(batch.shared != MAP_FAILED);
    atomic_init(&batch.shared->next, options->start);
    clock_gettime(CLOCK_MONOTONIC, &batch.began);
    for (uint32_t i = 0; i < options->jobs; i++)
        worker_fork(&batch, i);
    batch_loop(&batch);
    print_progress(&batch, true);
    double seconds = seconds_since(&batch.began);
    bool covered = print_faults(&batch);
    covered &= print_paths(&batch);
    print_registers(&batch);
    covered &= print_steward(&batch);
    printf("%" PRIu64 " seeds from %" PRIu64 " in %.1f s: %.0f seeds a minute on %" PRIu32
           " processes; %" PRIu64 " operations (%.1f %% ok), %.1f M steps and messages, %.2f "
           "simulated hours\n",
           batch.done, options->start, seconds, (double)batch.done * 60 / seconds, options->jobs,
           batch.operations,
           batch.operations == 0 ? 0
                                 : 100.0 * (double)batch.operations_ok / (double)batch.operations,
           (double)batch.events / 1e6, (double)batch.simulated_ns / 3.6e12);
    if (batch.failures > 0)
        print_failures(&batch);
    else if (!covered)
        printf("%" PRIu64 " seeds left a fault class, a path or a change out\n", batch.done);
    else
        printf("clean\n");
    munmap(batch.shared, sizeof *batch.shared);
    close(batch.read_end);
    close(batch.write_end);
    return batch.failures == 0 && covered;
}

bool batch_run_one(uint64_t seed, uint32_t without, bool trace)
{
    struct sim_options options = sim_options_draw(seed, without);
    sim_options_print(&options, stdout);
    if (!trace) {
        signal(SIGABRT, on_abort);
        signal(SIGSEGV, on_abort);
    } else {
        setvbuf(stdout, NULL, _IOLBF, 0);
    }
    struct world_result result = world_run(&options, true, trace ? stdout : NULL);
    printf("seed %" PRIu64 ": %" PRIu64 " operations (%" PRIu64 " ok), %" PRIu64
           " steps, %.1f simulated s, hash %016" PRIx64 "\n",
           seed, result.operations, result.operations_ok, result.figures.steps,
           (double)result.simulated_ns / SECOND_NS, result.hash);
    if (result.failure.failed)
        printf("seed %" PRIu64 ": VIOLATION %s: %s\n", seed, result.failure.checker,
               result.failure.what);
    else
        printf("clean\n");
    return !result.failure.failed;
}

bool batch_check_determinism(uint64_t start, uint64_t seeds, uint32_t without)
{
    uint64_t different = 0;
    FILE *nowhere = fopen("/dev/null", "w");
    CHECK(nowhere != NULL);
    for (uint64_t seed = start; seed < start + seeds; seed++) {
        struct sim_options options = sim_options_draw(seed, without);
        struct world_result first = world_run(&options, false, NULL);
        /* Lines on in the second run: looking must change nothing. */
        struct world_result second = world_run(&options, true, nowhere);
        if (first.hash == second.hash && first.events == second.events)
            continue;
        different++;
        printf("seed %" PRIu64 ": %016" PRIx64 " in %" PRIu64 " events, then %016" PRIx64
               " in %" PRIu64 "\n",
               seed, first.hash, first.events, second.hash, second.events);
    }
    fclose(nowhere);
    printf("%" PRIu64 " seeds twice, %" PRIu64 " with different trace hashes\n", seeds, different);
    return different == 0;
}
