/* script_faults.h -- the commands of misfortune: links, lives, disks. */
#ifndef TESTS_SCENARIO_SCRIPT_FAULTS_H
#define TESTS_SCENARIO_SCRIPT_FAULTS_H

#include "tests/scenario/script_words.h"

static void command_cut(struct cluster *c, const struct words *words)
{
    unsigned a = 0;
    unsigned b = 0;
    char how = 0;
    if (sscanf(word_at(words, 1), "n%u%cn%u", &a, &how, &b) != 3 || (how != '-' && how != '>') ||
        a - 1 >= c->node_count || b - 1 >= c->node_count) {
        cluster_fail(c, "\"%s\" is no link: n1-n2 or n1>n2", word_at(words, 1));
        return;
    }
    c->cut[a - 1][b - 1] = true;
    if (how == '-')
        c->cut[b - 1][a - 1] = true;
}

static void command_life(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    if (word_is(words, 0, "raise")) {
        if (node->up)
            hello_raise(node);
    } else if (word_is(words, 0, "start")) {
        if (!node->up && may_start(node))
            node_start(node);
    } else if (!node->up) {
        return;
    } else if (word_is(words, 0, "crash")) {
        node_crash(node, word_is(words, 2, "keeping"));
    } else {
        node_stop(node);
    }
    cluster_run_until(c, c->now_ns + 10 * MS);
}

static void node_set_reads(struct node *node, bool fail)
{
    static struct prng prng;
    prng_init(&prng, 1, 1);
    if (node->up)
        engine_memory_set_faults(node->engine, &prng, fail ? 1 : 0, 0, false);
}

static struct backup *find_backup(struct cluster *c, const char *name)
{
    for (uint32_t i = 0; i < BACKUPS_MAX; i++) {
        if (strcmp(c->backups[i].name, name) == 0)
            return &c->backups[i];
    }
    return NULL;
}

/* What happens to disks. */
static void command_disk(struct cluster *c, const struct words *words)
{
    struct node *node = word_node(c, word_at(words, 1));
    const char *name = word_at(words, 2);
    struct backup *backup = find_backup(c, name);
    if (word_is(words, 0, "backup")) {
        if (backup == NULL)
            backup = find_backup(c, "");
        CHECK(backup != NULL && *name != 0);
        memory_disk_free(backup->disk);
        snprintf(backup->name, sizeof backup->name, "%s", name);
        backup->disk = memory_disk_copy(node->disk, node->up ? node->engine : NULL);
    } else if (node->up) {
        node_crash(node, false);
    }
    node->lost |= !word_is(words, 0, "backup");
    if (word_is(words, 0, "wipe")) {
        memory_disk_wipe(node->disk);
    } else if (word_is(words, 0, "restore") && backup != NULL) {
        memory_disk_free(node->disk);
        node->disk = memory_disk_copy(backup->disk, NULL);
    }
}

/* A bit of the key's row turns, or the block that it lies in cannot be read. */
static void command_rot(struct cluster *c, const struct words *words, struct node *node)
{
    const char *key = word_at(words, 2);
    const struct keyspace *keyspace =
        node->up ? keyspace_map_find(&node->view->keyspaces,
                                     word_is(words, 3, "in") ? word_at(words, 4) : "default")
                 : NULL;
    if (keyspace == NULL)
        return;
    uint8_t memory[STORAGE_KEY_BYTES_MAX];
    struct bytes name = bytes_of_string(key);
    uint64_t hash = hash_key(keyspace->id, name);
    struct bytes row = bytes_of(memory, hash_storage_key(keyspace->id, name, hash, memory));
    snprintf(c->rotten, sizeof c->rotten, "%s", key);
    uint32_t partition = hash_partition(hash, node->view->topology.partitions);
    if (word_is(words, 0, "hide"))
        engine_memory_hide(node->engine, partition, hash, hash);
    else
        engine_memory_damage(node->engine, partition, row, 80);
}

static void command_lose(struct cluster *c, const struct words *words)
{
    CHECK_U64(c->loss_count, <, LOSSES_MAX);
    if (sscanf(word_at(words, 1), "n%u>n%u", &c->losses[c->loss_count].from,
               &c->losses[c->loss_count].to) != 2)
        cluster_fail(c, "\"%s\" is no direction: n1>n2", word_at(words, 1));
    snprintf(c->losses[c->loss_count].kind, sizeof c->losses[0].kind, "%s", word_at(words, 2));
    c->loss_count++;
}

#endif
