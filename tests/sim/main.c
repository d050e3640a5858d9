/* coterie-sim -- the cluster in one process, under one seed. */
#include "tests/effort.h"
#include "tests/sim/batch.h"
#include "tests/sim/mutants.h"
#include "tests/sim/options.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SEEDS_DEFAULT 1000u

static const char help[] =
    "usage: coterie-sim [--seeds N] [--start S] [--jobs J] [--keep-going]\n"
    "       coterie-sim --seed S [--trace]\n"
    "       coterie-sim --check-determinism N [--start S]\n"
    "\n"
    "Runs the real actors of 3 to 9 nodes under one seeded event heap, breaks the network, the\n"
    "nodes, their clocks and their disks, and checks what the clients were told.\n"
    "\n"
    "  --seeds N               how many seeds; default 1000 (COTERIE_EFFORT per cent of them)\n"
    "  --start S               the first one; default 1\n"
    "  --jobs J                processes; default 2\n"
    "  --keep-going            go on after a failed seed and count them\n"
    "  --seed S                only this one\n"
    "  --trace                 a line for each event\n"
    "  --check-determinism N   run N seeds twice and compare their trace hashes\n"
#ifdef COTERIE_MUTATIONS
    "  --mutations             kill every mutant; --seeds for each, default 2000\n"
    "  --mutation NAME         with this known bug; with --mutations: only this one\n"
    "  --list-mutations\n"
#endif
    "  --without A,B           leave out fault classes:\n"
    "                         ";

enum option_id {
    OPTION_SEEDS = 1,
    OPTION_START,
    OPTION_JOBS,
    OPTION_KEEP_GOING,
    OPTION_SEED,
    OPTION_TRACE,
    OPTION_DETERMINISM,
    OPTION_WITHOUT,
    OPTION_HELP,
    OPTION_MUTATIONS,
    OPTION_MUTATION,
    OPTION_LIST_MUTATIONS,
};

static const struct option option_table[] = {
    {"seeds", required_argument, NULL, OPTION_SEEDS},
    {"start", required_argument, NULL, OPTION_START},
    {"jobs", required_argument, NULL, OPTION_JOBS},
    {"keep-going", no_argument, NULL, OPTION_KEEP_GOING},
    {"seed", required_argument, NULL, OPTION_SEED},
    {"trace", no_argument, NULL, OPTION_TRACE},
    {"check-determinism", required_argument, NULL, OPTION_DETERMINISM},
    {"without", required_argument, NULL, OPTION_WITHOUT},
    {"help", no_argument, NULL, OPTION_HELP},
#ifdef COTERIE_MUTATIONS
    {"mutations", no_argument, NULL, OPTION_MUTATIONS},
    {"mutation", required_argument, NULL, OPTION_MUTATION},
    {"list-mutations", no_argument, NULL, OPTION_LIST_MUTATIONS},
#endif
    {NULL, 0, NULL, 0},
};

struct arguments {
    struct batch_options batch;
    bool one;
    bool trace;
    uint64_t determinism; /* seeds; 0: not asked for */
    bool mutants;
    enum mutation mutation;
};

#define EXIT_USAGE 2

static uint64_t parse_number(const char *name, const char *text)
{
    char *end = NULL;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0') {
        fprintf(stderr, "coterie-sim: --%s: \"%s\" is not a number\n", name, text);
        exit(EXIT_USAGE);
    }
    return number;
}

static uint32_t parse_classes(char *text)
{
    uint32_t classes = 0;
    char *rest = NULL;
    for (char *name = strtok_r(text, ",", &rest); name != NULL; name = strtok_r(NULL, ",", &rest)) {
        enum fault_class class = fault_class_parse(name);
        if (class == FAULT_CLASS_COUNT) {
            fprintf(stderr, "coterie-sim: no fault class \"%s\"; see --help\n", name);
            exit(EXIT_USAGE);
        }
        classes |= 1u << class;
    }
    return classes;
}

static _Noreturn void print_help(void)
{
    printf("%s", help);
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++)
        printf(" %s%s", fault_class_name((enum fault_class) class),
               class % 5 == 4 ? "\n                         " : "");
    printf("\n");
    exit(0);
}

#ifdef COTERIE_MUTATIONS
static void parse_mutation(struct arguments *arguments, int id)
{
    if (id == OPTION_LIST_MUTATIONS) {
        mutants_list();
        exit(0);
    }
    if (id == OPTION_MUTATIONS) {
        arguments->mutants = true;
        return;
    }
    arguments->mutation = mutants_parse(optarg);
    if (arguments->mutation == MUTATION_NONE) {
        fprintf(stderr, "coterie-sim: no mutation \"%s\"; see --list-mutations\n", optarg);
        exit(EXIT_USAGE);
    }
}

static bool run_mutants(const struct arguments *arguments)
{
    const struct batch_options *batch = &arguments->batch;
    struct mutants_options options = {
        .start = batch->start,
        .seeds = batch->seeds == 0 ? MUTANT_SEEDS_MAX : batch->seeds,
        .jobs = batch->jobs,
        .only = arguments->mutation,
    };
    ssize_t size = readlink("/proc/self/exe", options.folder, sizeof options.folder - 1);
    CHECK(size > 0);
    *strrchr(options.folder, '/') = '\0';
    return mutants_run(&options);
}
#endif

static void parse_one(struct arguments *arguments, int id, const char *name)
{
    struct batch_options *batch = &arguments->batch;
    switch (id) {
    case OPTION_SEEDS:
        batch->seeds = parse_number(name, optarg);
        break;
    case OPTION_START:
        batch->start = parse_number(name, optarg);
        break;
    case OPTION_JOBS:
        batch->jobs = (uint32_t)parse_number(name, optarg);
        break;
    case OPTION_KEEP_GOING:
        batch->keep_going = true;
        break;
    case OPTION_SEED:
        batch->start = parse_number(name, optarg);
        arguments->one = true;
        break;
    case OPTION_TRACE:
        arguments->trace = true;
        break;
    case OPTION_DETERMINISM:
        arguments->determinism = parse_number(name, optarg);
        break;
    case OPTION_WITHOUT:
        batch->without |= parse_classes(optarg);
        break;
    case OPTION_HELP:
        print_help();
#ifdef COTERIE_MUTATIONS
    case OPTION_MUTATIONS:
    case OPTION_MUTATION:
    case OPTION_LIST_MUTATIONS:
        parse_mutation(arguments, id);
        break;
#endif
    default:
        fprintf(stderr, "try coterie-sim --help\n");
        exit(EXIT_USAGE);
    }
}

static struct arguments parse(int argc, char **argv)
{
    struct arguments arguments = {.batch = {.start = 1, .jobs = 2, .program = argv[0]}};
    int index = 0;
    int id;
    while ((id = getopt_long(argc, argv, "", option_table, &index)) != -1)
        parse_one(&arguments, id, option_table[index].name);
    if (optind < argc) {
        fprintf(stderr, "coterie-sim: unexpected \"%s\"; try coterie-sim --help\n", argv[optind]);
        exit(EXIT_USAGE);
    }
    if (arguments.batch.jobs < 1 || arguments.batch.jobs > BATCH_JOBS_MAX) {
        fprintf(stderr, "coterie-sim: --jobs: 1 to %u\n", BATCH_JOBS_MAX);
        exit(EXIT_USAGE);
    }
    if (arguments.batch.seeds == 0 && !arguments.mutants)
        arguments.batch.seeds = effort(SEEDS_DEFAULT);
    return arguments;
}

int main(int argc, char **argv)
{
    struct arguments arguments = parse(argc, argv);
    const struct batch_options *batch = &arguments.batch;
    bool clean;
#ifdef COTERIE_MUTATIONS
    if (arguments.mutants)
        return run_mutants(&arguments) ? 0 : 1;
    mutation_chosen = arguments.mutation;
#endif
    if (arguments.determinism > 0)
        clean = batch_check_determinism(batch->start, arguments.determinism, batch->without);
    else if (arguments.one)
        clean = batch_run_one(batch->start, batch->without, arguments.trace);
    else
        clean = batch_run(batch);
    return clean ? 0 : 1;
}
