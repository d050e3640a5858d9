#include "tests/sim/options.h"

#include "base/prng.h"
#include "tests/sim/random.h"

#include <inttypes.h>
#include <string.h>

static const char *const class_names[FAULT_CLASS_COUNT] = {
#define X(class, name) [FAULT_##class] = name,
    FAULT_TABLE(X)
#undef X
};

const char *fault_class_name(enum fault_class class)
{
    return class_names[class];
}

enum fault_class fault_class_parse(const char *name)
{
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        if (strcmp(class_names[class], name) == 0)
            return (enum fault_class) class;
    }
    return FAULT_CLASS_COUNT;
}

/* A level that a keyspace may have by default. Counts are within n whatever the cluster's size. */
static enum consistency draw_keyspace_level(struct prng *prng, uint8_t n_max, uint8_t *ret_count)
{
    *ret_count = 0;
    switch (prng_below(prng, 8)) {
    case 0:
        return CONSISTENCY_ONE;
    case 1:
        return CONSISTENCY_ALL;
    case 2:
        *ret_count = (uint8_t)prng_between(prng, 1, n_max);
        return CONSISTENCY_COUNT;
    default:
        return CONSISTENCY_QUORUM;
    }
}

static void draw_keyspaces(struct prng *prng, struct sim_options *options)
{
    options->keyspace_count = (uint32_t)prng_between(prng, 1, SIM_KEYSPACES_MAX);
    uint8_t smallest_center = (uint8_t)(options->nodes / options->data_centers);
    for (uint32_t i = 0; i < options->keyspace_count; i++) {
        struct sim_keyspace *keyspace = &options->keyspaces[i];
        snprintf(keyspace->name, sizeof keyspace->name, "ks%" PRIu32, i);
        keyspace->n = prng_chance(prng, 0.5) ? 3 : (uint8_t)prng_between(prng, 1, 5);
        keyspace->conflict = prng_chance(prng, 0.3) ? KEYSPACE_LWW : KEYSPACE_SIBLINGS;
        uint8_t present = keyspace->n < smallest_center ? keyspace->n : smallest_center;
        keyspace->read_level = draw_keyspace_level(prng, present, &keyspace->read_count);
        keyspace->write_level = draw_keyspace_level(prng, present, &keyspace->write_count);
    }
}

static void draw_workload(struct prng *prng, struct sim_options *options)
{
    options->clients = (uint32_t)prng_between(prng, 1, CLIENTS_MAX);
    options->keys = prng_chance(prng, 0.5) ? (uint32_t)prng_between(prng, 1, 4)
                                           : (uint32_t)prng_between(prng, 1, KEYS_MAX);
    options->operations_max = (uint32_t)random_log(prng, 40, 1000);
    options->write_share = 0.2 + 0.6 * prng_unit(prng);
    options->context_share = prng_unit(prng);
    options->ttl_share = prng_chance(prng, 0.5) ? 0 : prng_unit(prng);
    options->request_share = prng_chance(prng, 0.4) ? 0 : prng_unit(prng);
    options->hoarding = prng_chance(prng, 0.04);
    if (options->hoarding) { /* one key gets as many siblings as it may have, and more */
        options->keys = 1;
        options->keyspace_count = 1;
        options->operations_max = 600;
    }
    options->quorum_share = 0.3 + 0.7 * prng_unit(prng);
}

/* In a stream of its own: clusters in one data centre are what they were before there were more. */
static void draw_centers(struct sim_options *options)
{
    struct prng prng;
    prng_init(&prng, options->seed, RANDOM_CENTERS);
    bool three = prng_chance(&prng, 0.4);
    double local = prng_unit(&prng);
    if (options->data_centers == 1)
        return;
    options->local_share = 0.8 * local;
    if (three && options->nodes >= 2 * SIM_CENTERS_MAX)
        options->data_centers = SIM_CENTERS_MAX;
}

/* Cuts between data centres, and keyspaces that wait for their own. */
static void draw_center_cuts(struct sim_options *options)
{
    struct prng prng;
    prng_init(&prng, ~options->seed, RANDOM_CENTERS);
    if (options->data_centers == 1)
        return;
    if (prng_chance(&prng, 0.7))
        options->faults |= 1u << FAULT_CENTER;
    for (uint32_t i = 0; i < options->keyspace_count; i++) {
        struct sim_keyspace *keyspace = &options->keyspaces[i];
        bool local_reads = prng_chance(&prng, 0.5);
        bool local_writes = prng_chance(&prng, 0.5);
        bool each = prng_chance(&prng, 0.2);
        if (keyspace->read_level == CONSISTENCY_QUORUM && local_reads)
            keyspace->read_level = CONSISTENCY_LOCAL_QUORUM;
        if (keyspace->write_level == CONSISTENCY_QUORUM && local_writes)
            keyspace->write_level = each ? CONSISTENCY_EACH_QUORUM : CONSISTENCY_LOCAL_QUORUM;
    }
}

/* A small cluster under a dense load that changes again and again: reads come right behind a step,
 * and writes whose messages are lost. */
static void draw_rush(struct prng *prng, struct sim_options *options)
{
    options->rush = true;
    options->nodes = options->nodes_first = (uint32_t)prng_between(prng, 3, 5);
    options->data_centers = 1;
    options->partitions = 8;
    options->keyspace_count = 1;
    struct sim_keyspace *keyspace = &options->keyspaces[0];
    keyspace->n = 3;
    keyspace->read_level = keyspace->write_level = CONSISTENCY_QUORUM;
    if (prng_chance(prng, 0.3))
        keyspace->write_level = CONSISTENCY_ONE;
    keyspace->read_count = keyspace->write_count = 0;
    options->hoarding = false;
    options->ttl_share = 0;
    options->local_share = 0;
    options->quorum_share = 1;
    options->keys = (uint32_t)random_log(prng, 8, KEYS_MAX);
    options->clients = (uint32_t)prng_between(prng, 8, CLIENTS_MAX);
    options->operations_max = 3000;
    options->safety_ns = 4 * (uint64_t)SECOND_NS;
    options->think_mean_ns = random_log(prng, MS_NS, 60 * (uint64_t)MS_NS);
    options->requests_max = 64;
    options->held_max = 1024;
    options->changes = 6;
    options->context_share = 0.9;
    options->reap_after_ms = random_log(prng, 20, 1000);
    options->compare_every_ns = SECOND_NS;
    options->faults &= 1u << FAULT_DELAY | 1u << FAULT_DUPLICATE | 1u << FAULT_REORDER |
                       1u << FAULT_RESTART | 1u << FAULT_CRASH | 1u << FAULT_FSYNC_SLOW |
                       1u << FAULT_PAUSE_NODE | 1u << FAULT_MEMBERSHIP | 1u << FAULT_WIPED |
                       1u << FAULT_RESTORED | 1u << FAULT_CLONED | 1u << FAULT_CORRUPT;
    options->faults |= 1u << FAULT_LOSS;
}

/* Its own stream: what changes the cluster leaves the rest of a seed as it was. */
static void draw_membership(struct sim_options *options, uint32_t without)
{
    struct prng prng;
    prng_init(&prng, options->seed, RANDOM_STEWARD);
    options->nodes_first = options->nodes;
    bool moves = prng_chance(&prng, 0.3);
    options->changes = (uint32_t)prng_between(&prng, 1, 6);
    if (!moves || (without & 1u << FAULT_MEMBERSHIP) != 0)
        return;
    options->faults |= 1u << FAULT_MEMBERSHIP;
    if (prng_chance(&prng, 0.4))
        draw_rush(&prng, options);
}

/* In a stream of its own, too. */
static void draw_registers(struct sim_options *options)
{
    struct prng random;
    struct prng *prng = &random;
    prng_init(prng, options->seed, RANDOM_REGISTERS_OPTIONS);
    struct sim_registers *registers = &options->registers;
    registers->n = prng_chance(prng, 0.7) ? 3 : (uint8_t)prng_between(prng, 1, 5);
    registers->keys = (uint32_t)prng_between(prng, 1, REGISTER_KEYS_MAX);
    registers->counters = (uint32_t)prng_below(prng, registers->keys + 1);
    registers->clients = (uint32_t)prng_between(prng, 1, REGISTER_CLIENTS_MAX);
    registers->operations_max = (uint32_t)random_log(prng, 20, 400);
    registers->write_share = 0.3 + 0.6 * prng_unit(prng);
    registers->request_share = prng_chance(prng, 0.3) ? 1 : prng_unit(prng);
    registers->ttl_share = prng_chance(prng, 0.6) ? 0 : 0.3 * prng_unit(prng);
    uint64_t pace_ns = options->safety_ns / registers->operations_max * registers->clients;
    registers->think_mean_ns = prng_chance(prng, 0.6) ? pace_ns : random_log(prng, 200000, pace_ns);
    /* A set without a majority of its votes cannot be moved, and one vote of two is half of them.
     */
    bool votes_go =
        sim_options_has(options, FAULT_MEMBERSHIP) &&
        (sim_options_has(options, FAULT_WIPED) || sim_options_has(options, FAULT_RESTORED)) &&
        registers->n < 3;
    if (prng_chance(prng, 0.25) || votes_go)
        *registers = (struct sim_registers){0};
}

/* A small cluster in which tombstones are reaped soon and disks are lost or put back, and nothing
 * else keeps rounds from ending for long: what reaping rests on is met in one seed of a few. */
static void draw_graves(struct prng *prng, struct sim_options *options)
{
    static const uint32_t classes =
        1u << FAULT_DELAY | 1u << FAULT_DUPLICATE | 1u << FAULT_REORDER | 1u << FAULT_RESTART |
        1u << FAULT_CRASH | 1u << FAULT_POWER_ONE | 1u << FAULT_PAUSE_NODE |
        1u << FAULT_FSYNC_SLOW | 1u << FAULT_READ_ERROR | 1u << FAULT_WIPED | 1u << FAULT_RESTORED;
    options->graves = true;
    options->nodes = options->nodes_first = (uint32_t)prng_between(prng, 3, 4);
    options->registers = (struct sim_registers){0};
    options->data_centers = 1;
    options->keyspace_count = 1;
    options->keyspaces[0].n = 3;
    options->keyspaces[0].read_level = options->keyspaces[0].write_level = CONSISTENCY_QUORUM;
    options->keyspaces[0].read_count = options->keyspaces[0].write_count = 0;
    options->keys = (uint32_t)prng_between(prng, 2, 8);
    options->clients = (uint32_t)prng_between(prng, 1, 3);
    options->safety_ns = 20 * (uint64_t)SECOND_NS;
    options->think_mean_ns = random_log(prng, 50 * (uint64_t)MS_NS, SECOND_NS);
    options->operations_max = 400;
    options->write_share = 0.7;
    options->delete_share = 0.2 + 0.5 * prng_unit(prng);
    options->context_share = 0.9;
    options->ttl_share = 0;
    options->hoarding = false;
    options->reap_after_ms = random_log(prng, 20, 500);
    options->compare_every_ns = random_log(prng, SECOND_NS, 3 * (uint64_t)SECOND_NS);
    options->reap_every_ns = options->compare_every_ns;
    options->faults &= classes;
    if (prng_chance(prng, 0.5))
        options->faults |= 1u << FAULT_RESTORED;
    options->late = prng_chance(prng, 0.6);
    if (options->late) {
        options->faults |=
            1u << FAULT_DELAY | 1u << FAULT_DUPLICATE | 1u << FAULT_LOSS | 1u << FAULT_CRASH;
        options->reap_after_ms = random_log(prng, 20, 100);
        options->reap_every_ns = random_log(prng, 100 * (uint64_t)MS_NS, 500 * (uint64_t)MS_NS);
        options->think_mean_ns = random_log(prng, 50 * (uint64_t)MS_NS, 300 * (uint64_t)MS_NS);
        if (prng_chance(prng, 0.5)) /* then anti-entropy carries what hints cannot */
            options->hint_bytes_max = random_log(prng, 50, 400);
    }
}

/* In a stream of its own: keyspaces of two replicas, of which one is lost while the other one
 * cannot read a row; reads of one copy behind writes of both. */
static void draw_given_up(struct sim_options *options)
{
    struct prng random;
    struct prng *prng = &random;
    prng_init(prng, options->seed, RANDOM_GIVEN_UP);
    if (options->graves || options->data_centers != 1 || !sim_options_has(options, FAULT_WIPED) ||
        !sim_options_has(options, FAULT_CORRUPT) || !prng_chance(prng, 0.5))
        return;
    options->gives_up = true;
    for (uint32_t i = 0; i < options->keyspace_count; i++) {
        struct sim_keyspace *keyspace = &options->keyspaces[i];
        bool reads_one = prng_chance(prng, 0.7);
        if (i > 0 && prng_chance(prng, 0.4))
            continue;
        keyspace->n = 2;
        keyspace->read_level = reads_one ? CONSISTENCY_ONE : CONSISTENCY_QUORUM;
        keyspace->write_level = CONSISTENCY_QUORUM;
        keyspace->read_count = keyspace->write_count = 0;
    }
}

struct sim_options sim_options_draw(uint64_t seed, uint32_t without)
{
    struct prng random;
    struct prng *prng = &random;
    prng_init(prng, seed, RANDOM_OPTIONS);
    struct sim_options options = {.seed = seed};
    options.nodes = prng_chance(prng, 0.5) ? 3 : (uint32_t)prng_between(prng, 3, NODES_FIRST_MAX);
    options.data_centers = options.nodes >= 4 && prng_chance(prng, 0.25) ? 2 : 1;
    draw_centers(&options);
    options.partitions = 8u << prng_below(prng, 3);
    options.coordinators = (uint32_t)prng_between(prng, 1, 2);
    options.shards = (uint32_t)prng_between(prng, 1, 3);
    options.requests_max = (uint32_t)random_log(prng, 8, 64);
    options.held_max = (uint32_t)random_log(prng, 16, 1024);
    options.epoch_lease = prng_chance(prng, 0.5) ? (uint32_t)random_log(prng, 2, 200) : 0;
    draw_keyspaces(prng, &options);
    draw_workload(prng, &options);
    options.safety_ns = random_log(prng, 2, 20) * SECOND_NS;
    /* The budget lasts for about the whole phase, or is used up in a storm. */
    uint64_t pace_ns = options.safety_ns / options.operations_max * options.clients;
    options.think_mean_ns = prng_chance(prng, 0.8) ? pace_ns : random_log(prng, 200000, pace_ns);
    options.batch_max = (uint32_t)random_log(prng, 1, 256);
    options.step_cost_ns = random_log(prng, 1000, 100000);
    options.delay_min_ns = random_log(prng, 50000, 2 * (uint64_t)MS_NS);
    options.delay_mean_ns = random_log(prng, 50000, 20 * (uint64_t)MS_NS);
    options.fsync_mean_ns = random_log(prng, 100000, 10 * (uint64_t)MS_NS);
    /* Never, where checkers look at tombstones. */
    options.reap_after_ms =
        prng_chance(prng, 0.4) ? (uint64_t)365 * 24 * 3600 * 1000 : random_log(prng, 20, 5000);
    options.compare_every_ns = random_log(prng, SECOND_NS, 8 * (uint64_t)SECOND_NS);
    options.hint_bytes_max = prng_chance(prng, 0.7) ? 0 : random_log(prng, 200, 20000);
    for (uint32_t class = 0; class < FAULT_MEMBERSHIP; class ++) {
        if (prng_chance(prng, 0.5))
            options.faults |= 1u << class;
    }
    draw_center_cuts(&options);
    options.faults &= ~without;
    draw_membership(&options, without);
    draw_registers(&options);
    /* Drawn last: seeds from before it mean what they meant. */
    for (uint32_t i = 0; i < options.keyspace_count; i++)
        options.keyspaces[i].strict = prng_chance(prng, 0.3);
    options.delete_share = options.rush ? 0.3 : 0.1;
    options.reap_every_ns = options.compare_every_ns;
    if (prng_chance(prng, 0.1) && !options.rush)
        draw_graves(prng, &options);
    options.faults &= ~without;
    draw_given_up(&options);
    return options;
}

static void print_keyspace(const struct sim_keyspace *keyspace, FILE *file)
{
    fprintf(file, "  %s: n %u, %s, %s quorum, read %s", keyspace->name, keyspace->n,
            keyspace->conflict == KEYSPACE_LWW ? "lww" : "siblings",
            keyspace->strict ? "strict" : "sloppy", consistency_text(keyspace->read_level));
    if (keyspace->read_level == CONSISTENCY_COUNT)
        fprintf(file, " %u", keyspace->read_count);
    fprintf(file, ", write %s", consistency_text(keyspace->write_level));
    if (keyspace->write_level == CONSISTENCY_COUNT)
        fprintf(file, " %u", keyspace->write_count);
    fprintf(file, "\n");
}

void sim_options_print(const struct sim_options *options, FILE *file)
{
    fprintf(file,
            "seed %" PRIu64 ": %" PRIu32 " nodes in %" PRIu32 " data centres, Q %" PRIu32
            ", %" PRIu32 " coordinators and %" PRIu32 " shards each (%" PRIu32 " requests, %" PRIu32
            " held)\n",
            options->seed, options->nodes, options->data_centers, options->partitions,
            options->coordinators, options->shards, options->requests_max, options->held_max);
    for (uint32_t i = 0; i < options->keyspace_count; i++)
        print_keyspace(&options->keyspaces[i], file);
    fprintf(file,
            "  %" PRIu32 " clients, %" PRIu32 " keys, at most %" PRIu32
            " operations, think %.2f ms, writes %.2f, contexts %.2f, local %.2f, quorum "
            "%.2f, %.0f s\n",
            options->clients, options->keys, options->operations_max,
            (double)options->think_mean_ns / MS_NS, options->write_share, options->context_share,
            options->local_share, options->quorum_share, (double)options->safety_ns / SECOND_NS);
    if (options->registers.keys > 0)
        fprintf(file,
                "  registers: n %u, %" PRIu32 " clients, %" PRIu32 " keys, %" PRIu32
                " of them counters, at most %" PRIu32 " operations, think %.2f ms\n",
                options->registers.n, options->registers.clients, options->registers.keys,
                options->registers.counters, options->registers.operations_max,
                (double)options->registers.think_mean_ns / MS_NS);
    fprintf(file,
            "  batch %" PRIu32 ", step %.3f ms, delay %.2f + %.2f ms, fsync %.2f ms\n  faults:",
            options->batch_max, (double)options->step_cost_ns / MS_NS,
            (double)options->delay_min_ns / MS_NS, (double)options->delay_mean_ns / MS_NS,
            (double)options->fsync_mean_ns / MS_NS);
    if (options->hoarding)
        fprintf(file, " (and hoarding of siblings)");
    if (options->rush)
        fprintf(file, " (and changes under a dense load)");
    if (options->graves)
        fprintf(file, " (and deletes, reaped soon%s)", options->late ? ", and late messages" : "");
    if (options->gives_up)
        fprintf(file, " (and rows of which the last copy rots)");
    for (uint32_t class = 0; class < FAULT_CLASS_COUNT; class ++) {
        if (sim_options_has(options, (enum fault_class) class))
            fprintf(file, " %s", class_names[class]);
    }
    fprintf(file, "%s\n", options->faults == 0 ? " none" : "");
}
