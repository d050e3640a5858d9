#include "tests/sim/mutants.h"

#include "tests/sim/world.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX     64u
#define HANG_SECONDS 60u   /* of one seed */
#define TEST_SECONDS 1800u /* of the test of a rule, on a busy machine too */
#define NO_PROGRAM   127

static const struct {
    const char *name;
    const char *what;
    const char *source;
} texts[MUTATION_COUNT] = {
#define X(mutant, does, told) [MUTATION_##mutant] = {#mutant, does, told},
    MUTATION_TABLE(X)
#undef X
};

/* What is looked for in some seeds alone is not run in the others; they count all the same. */
enum family {
    FAMILY_ANY,
    FAMILY_TOMBSTONES, /* graves */
    FAMILY_MEMBERSHIP, /* changes */
};

static const enum family families[MUTATION_COUNT] = {
#define X(mutant, does, told) [MUTATION_##mutant] = FAMILY_TOMBSTONES,
    MUTATION_TABLE_TOMBSTONES(X)
#undef X
#define X(mutant, does, told) [MUTATION_##mutant] = FAMILY_MEMBERSHIP,
        MUTATION_TABLE_MEMBERSHIP(X)
#undef X
};

/* Those that another layer covers, as far as a whole cluster shows: the test that plays the rule
 * itself must fail with them, and pass without. The build has them beside the simulator
 * (CMakeLists.txt reads this table). */
static const struct {
    enum mutation mutation;
    const char *program;
} rule_tests[] = {
    {MUTATION_AMNESIA_IGNORED_IN_A_PUT, "unit_test_replica"},
    {MUTATION_AMNESIA_IGNORED_IN_A_WRITE, "unit_test_replica"},
    {MUTATION_AMNESIA_IGNORED_IN_READ_REPAIR, "unit_test_replica"},
    {MUTATION_AMNESIA_IGNORED_IN_A_HINT, "unit_test_replica"},
    {MUTATION_AMNESIA_IGNORED_IN_ANTI_ENTROPY, "unit_test_replica"},
    {MUTATION_AMNESIA_IGNORED_IN_REPAIR, "unit_test_replica_quarantine"},
    {MUTATION_REAP_UNCONFIRMED, "unit_test_replica_reap"},
    {MUTATION_REAPED_WHILE_JOINT, "unit_test_replica_reap"},
    {MUTATION_STALE_SNAPSHOT_STREAMED, "unit_test_anti_entropy"},
    {MUTATION_FILLED_WITHOUT_KEYSPACES, "unit_test_anti_entropy_lost"},
    {MUTATION_GAIN_PASSES_OVER_BAD_ROWS, "unit_test_anti_entropy_bad_rows"},
    {MUTATION_PLAN_KEEPS_ALL_ACKS, "unit_test_coordinator_change_put"},
    {MUTATION_GENERATION_RAISED_ALONE, "unit_test_incarnation"},
    {MUTATION_REMOVED_REJOINS, "unit_test_topology_change"},
};

/* NULL: the simulator is to find it. */
static const char *rule_test(enum mutation mutation)
{
    for (size_t i = 0; i < sizeof rule_tests / sizeof rule_tests[0]; i++) {
        if (rule_tests[i].mutation == mutation)
            return rule_tests[i].program;
    }
    return NULL;
}

/* Shared with the process that runs it. */
struct mutant {
    _Atomic uint64_t seed; /* the one at work, or the one that killed it */
    _Atomic bool killed;
    char checker[32];
};

struct suite {
    const struct mutants_options *options;
    struct mutant *mutants;
    bool false_alarm[MUTATION_COUNT]; /* its seed fails without it as well */
    struct job {
        pid_t pid;
        enum mutation mutation;
        bool control;
    } jobs[JOBS_MAX];
    uint32_t running;
};

enum mutation mutants_parse(const char *name)
{
    for (uint32_t i = MUTATION_NONE + 1; i < MUTATION_COUNT; i++) {
        if (strcmp(texts[i].name, name) == 0)
            return (enum mutation)i;
    }
    return MUTATION_NONE;
}

void mutants_list(void)
{
    for (uint32_t i = MUTATION_NONE + 1; i < MUTATION_COUNT; i++)
        printf("%-32s %s (%s)\n", texts[i].name, texts[i].what, texts[i].source);
}

/* -- one mutant in a process of its own --------------------------------------------------------
 */

static void be_silent(void)
{
    int silence = open("/dev/null", O_WRONLY);
    if (silence >= 0) {
        dup2(silence, STDOUT_FILENO);
        dup2(silence, STDERR_FILENO);
    }
}

static bool run_seed(enum mutation mutation, uint64_t seed, char checker[32])
{
    struct sim_options options = sim_options_draw(seed, 0);
    enum family family = families[mutation];
    if ((family == FAMILY_MEMBERSHIP && !sim_options_has(&options, FAULT_MEMBERSHIP)) ||
        (family == FAMILY_TOMBSTONES && !options.graves))
        return true;
    alarm(HANG_SECONDS);
    struct world_result result = world_run(&options, false, NULL);
    alarm(0);
    memcpy(checker, result.failure.checker, sizeof result.failure.checker);
    return !result.failure.failed;
}

/* -- the test of a rule --------------------------------------------------------------------------
 */

static _Noreturn void execute(const struct mutants_options *options, enum mutation mutation,
                              bool is_control)
{
    char path[sizeof options->folder + 64];
    snprintf(path, sizeof path, "%s/tests/%s", options->folder, rule_test(mutation));
    alarm(TEST_SECONDS); /* an alarm outlives the exec */
    if (is_control)
        unsetenv("COTERIE_MUTATION");
    else
        setenv("COTERIE_MUTATION", texts[mutation].name, 1);
    execl(path, path, (char *)NULL);
    _exit(NO_PROGRAM);
}

static _Noreturn void live(const struct mutants_options *options, enum mutation mutation,
                           struct mutant *mutant)
{
    mutation_chosen = mutation;
    static_assert(sizeof mutant->checker == sizeof((struct failure *)0)->checker, "copied whole");
    for (uint64_t seed = options->start; seed < options->start + options->seeds; seed++) {
        atomic_store(&mutant->seed, seed);
        if (!run_seed(mutation, seed, mutant->checker)) {
            atomic_store(&mutant->killed, true);
            break;
        }
    }
    _exit(0);
}

static _Noreturn void control(enum mutation mutation, const struct mutant *mutant)
{
    char checker[32];
    _exit(run_seed(mutation, atomic_load(&mutant->seed), checker) ? 0 : 1);
}

static void start(struct suite *suite, enum mutation mutation, bool is_control)
{
    struct job *job = suite->jobs;
    while (job->pid != 0)
        job++;
    fflush(NULL);
    *job = (struct job){.pid = fork(), .mutation = mutation, .control = is_control};
    CHECK(job->pid >= 0);
    suite->running++;
    if (job->pid != 0)
        return;
    be_silent();
    if (rule_test(mutation) != NULL)
        execute(suite->options, mutation, is_control);
    if (is_control)
        control(mutation, &suite->mutants[mutation]);
    live(suite->options, mutation, &suite->mutants[mutation]);
}

/* -- the suite --------------------------------------------------------------------------------- */

/* A check inside the program, or a sanitizer, ends the process: that kills as well. */
static void ended_by_signal(struct mutant *mutant, int number)
{
    snprintf(mutant->checker, sizeof mutant->checker, "%s",
             number == SIGALRM ? "does not end" : "a CHECK of the program");
    atomic_store(&mutant->killed, true);
}

static void wait_for_one(struct suite *suite)
{
    int status = 0;
    pid_t pid = waitpid(-1, &status, 0);
    for (uint32_t i = 0; i < suite->options->jobs; i++) {
        struct job job = suite->jobs[i];
        if (job.pid != pid)
            continue;
        suite->jobs[i] = (struct job){0};
        suite->running--;
        struct mutant *mutant = &suite->mutants[job.mutation];
        if (job.control) {
            suite->false_alarm[job.mutation] = status != 0;
            return;
        }
        bool tested = rule_test(job.mutation) != NULL;
        if (tested && status != 0 && !(WIFEXITED(status) && WEXITSTATUS(status) == NO_PROGRAM)) {
            snprintf(mutant->checker, sizeof mutant->checker, "%s", rule_test(job.mutation));
            atomic_store(&mutant->killed, true);
        } else if (!tested && WIFSIGNALED(status)) {
            ended_by_signal(mutant, WTERMSIG(status));
        }
        if (atomic_load(&mutant->killed))
            start(suite, job.mutation, true);
    }
}

static uint64_t seeds_taken(const struct suite *suite, uint32_t mutation)
{
    const struct mutant *mutant = &suite->mutants[mutation];
    return atomic_load(&mutant->seed) - suite->options->start + 1;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool print_suite(const struct suite *suite, double seconds)
{
    uint64_t taken[MUTATION_COUNT];
    uint32_t all = 0;
    uint32_t count = 0; /* of those that seeds are to find */
    uint32_t killed = 0;
    printf("%-32s %-28s %6s  %s\n", "mutation", "killed by", "seeds", "what it does");
    for (uint32_t i = MUTATION_NONE + 1; i < MUTATION_COUNT; i++) {
        const struct mutant *mutant = &suite->mutants[i];
        if (suite->options->only != MUTATION_NONE && suite->options->only != i)
            continue;
        bool dead = atomic_load(&mutant->killed);
        const char *checker = !dead                   ? "-- survived --"
                              : suite->false_alarm[i] ? "-- fails without it --"
                                                      : mutant->checker;
        char seeds[24] = "-";
        if (rule_test(i) == NULL)
            snprintf(seeds, sizeof seeds, "%" PRIu64, seeds_taken(suite, i));
        printf("%-32s %-28s %6s  %s (%s)\n", texts[i].name, checker, seeds, texts[i].what,
               texts[i].source);
        killed += dead && !suite->false_alarm[i];
        all++;
        if (rule_test(i) == NULL)
            taken[count++] = dead ? seeds_taken(suite, i) : UINT64_MAX;
    }
    qsort(taken, count, sizeof taken[0], compare_u64);
    uint64_t median = count == 0 ? 0 : taken[(count - 1) / 2];
    printf("%" PRIu32 " of %" PRIu32 " mutants killed; %" PRIu32 " by seeds, median %" PRIu64
           "; in %.1f s\n",
           killed, all, count, median, seconds);
    return killed == all && (median <= MUTANT_MEDIAN_MAX || count < 3);
}

bool mutants_run(const struct mutants_options *options)
{
    static struct suite suite;
    struct timespec began;
    struct timespec now;
    size_t size = MUTATION_COUNT * sizeof *suite.mutants;
    CHECK(options->jobs >= 1 && options->jobs <= JOBS_MAX);
    suite = (struct suite){.options = options};
    suite.mutants = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(suite.mutants != MAP_FAILED);
    clock_gettime(CLOCK_MONOTONIC, &began);
    for (uint32_t i = MUTATION_NONE + 1; i < MUTATION_COUNT; i++) {
        if (options->only != MUTATION_NONE && options->only != i)
            continue;
        while (suite.running == options->jobs)
            wait_for_one(&suite);
        start(&suite, (enum mutation)i, false);
    }
    while (suite.running > 0)
        wait_for_one(&suite);
    clock_gettime(CLOCK_MONOTONIC, &now);
    bool good = print_suite(&suite, (double)(now.tv_sec - began.tv_sec) +
                                        (double)(now.tv_nsec - began.tv_nsec) * 1e-9);
    munmap(suite.mutants, size);
    return good;
}
