/* digest: what every node holds, a number a vnode, and where two nodes do not hold the same. */
#include "cli/output.h"
#include "cli/round.h"
#include "coterie/v1/maintenance.pb-c.h"

#include <stdlib.h>

typedef Coterie__V1__VnodeDigest digest_words;

/* One vnode of one node. */
struct held {
    char *node;
    const digest_words *digest;
};

struct digests {
    struct held *held;
    size_t count;
    uint64_t vnodes;   /* partition and keyspace */
    uint64_t copies;   /* of them */
    uint64_t keys;     /* in all copies */
    uint64_t unequal;  /* vnodes */
    uint64_t unproven; /* vnodes with a copy that says nothing or is being filled */
    uint64_t alone;    /* vnodes of which only one copy was asked */
};

static int held_order(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    if (x->digest->partition != y->digest->partition)
        return x->digest->partition < y->digest->partition ? -1 : 1;
    int order = strcmp(x->digest->keyspace, y->digest->keyspace);
    return order != 0 ? order : strcmp(x->node, y->node);
}

static bool same_vnode(const struct held *a, const struct held *b)
{
    return a->digest->partition == b->digest->partition &&
           strcmp(a->digest->keyspace, b->digest->keyspace) == 0;
}

static bool is_sure(const struct held *held)
{
    return held->digest->problem[0] == '\0' && held->digest->complete;
}

static bool same_rows(const struct held *a, const struct held *b)
{
    return is_sure(a) && is_sure(b) && a->digest->digest == b->digest->digest &&
           a->digest->keys == b->digest->keys;
}

static void gather(struct round *round, struct digests *digests)
{
    Coterie__V1__DigestRequest request = COTERIE__V1__DIGEST_REQUEST__INIT;
    request.keyspace = input_keyspace(round->cli);
    const char *endpoint;
    while (round_next(round, &endpoint)) {
        Coterie__V1__DigestResponse *response = (Coterie__V1__DigestResponse *)round_ask(
            round, endpoint, "/coterie.v1.Maintenance/Digest", &request.base,
            &coterie__v1__digest_response__descriptor, false);
        if (response == NULL || round_asked_already(round, response->node))
            continue;
        struct held *grown =
            ARENA_NEW(&round->cli->arena, struct held, digests->count + response->n_vnodes);
        if (digests->count > 0)
            memcpy(grown, digests->held, digests->count * sizeof *grown);
        digests->held = grown;
        for (size_t i = 0; i < response->n_vnodes; i++)
            digests->held[digests->count++] =
                (struct held){.node = response->node, .digest = response->vnodes[i]};
    }
    if (digests->count > 0)
        qsort(digests->held, digests->count, sizeof *digests->held, held_order);
}

/* The copies held[from..to) of one vnode. */
struct vnode {
    size_t from, to;
    bool equal;
    bool sure;
    bool empty;
};

static bool vnode_next(const struct digests *digests, struct vnode *vnode)
{
    const struct held *held = digests->held;
    vnode->from = vnode->to;
    if (vnode->from == digests->count)
        return false;
    vnode->equal = vnode->sure = vnode->empty = true;
    while (vnode->to < digests->count && same_vnode(&held[vnode->from], &held[vnode->to])) {
        const struct held *copy = &held[vnode->to++];
        vnode->sure = vnode->sure && is_sure(copy);
        vnode->empty = vnode->empty && is_sure(copy) && copy->digest->keys == 0;
    }
    for (size_t i = vnode->from; i < vnode->to; i++) {
        for (size_t j = vnode->from; j < i; j++)
            vnode->equal = vnode->equal && (same_rows(&held[i], &held[j]) || !is_sure(&held[i]) ||
                                            !is_sure(&held[j]));
    }
    return true;
}

static void count_all(struct digests *digests)
{
    struct vnode vnode = {0};
    while (vnode_next(digests, &vnode)) {
        digests->vnodes++;
        digests->unequal += !vnode.equal;
        digests->unproven += !vnode.sure;
        digests->alone += vnode.to - vnode.from == 1;
        for (size_t i = vnode.from; i < vnode.to; i++) {
            digests->copies++;
            digests->keys += digests->held[i].digest->keys;
        }
    }
}

/* -- output ------------------------------------------------------------------------------------ */

/* One row for the copies that are the same as held[first]. */
static void row_of(const struct digests *digests, struct table *table, const struct vnode *vnode,
                   size_t first)
{
    struct arena *arena = table->arena;
    const struct held *held = &digests->held[first];
    const char *nodes = held->node;
    for (size_t i = first + 1; i < vnode->to; i++) {
        if (same_rows(held, &digests->held[i]))
            nodes = arena_printf(arena, "%s, %s", nodes, digests->held[i].node);
    }
    const char *mark = vnode->equal ? "" : "DIFFERS";
    if (held->digest->problem[0] != '\0')
        mark = held->digest->problem;
    else if (!held->digest->complete)
        mark = "is being filled";
    table_row(table, (const char *const[]){
                         arena_printf(arena, "%u", held->digest->partition), held->digest->keyspace,
                         arena_printf(arena, "%016llx", (unsigned long long)held->digest->digest),
                         arena_printf(arena, "%llu", (unsigned long long)held->digest->keys), nodes,
                         mark, NULL});
}

static void print_table(struct cli *cli, const struct digests *digests, bool all_asked)
{
    struct table table;
    struct vnode vnode = {0};
    table_init(&table, &cli->arena,
               (const char *const[]){"PARTITION", "KEYSPACE", "DIGEST", "KEYS", "NODES", "", NULL});
    while (vnode_next(digests, &vnode)) {
        for (size_t i = vnode.from; i < vnode.to && !vnode.empty; i++) {
            bool told = false;
            for (size_t j = vnode.from; j < i; j++)
                told = told || same_rows(&digests->held[j], &digests->held[i]);
            if (!told)
                row_of(digests, &table, &vnode, i);
        }
    }
    if (table.rows > 1)
        table_print(&table);
    printf("%llu vnodes in %llu copies, %llu keys in all: %s", (unsigned long long)digests->vnodes,
           (unsigned long long)digests->copies, (unsigned long long)digests->keys,
           digests->unequal + digests->unproven > 0 ? ""
           : all_asked                              ? "all copies are the same\n"
                                                    : "those that were asked are the same\n");
    if (digests->unequal + digests->unproven > 0)
        printf("%llu differ, %llu have a copy that is not known\n",
               (unsigned long long)digests->unequal, (unsigned long long)digests->unproven);
    if (digests->alone > 0)
        cli_note("of %llu vnodes only one copy was asked", (unsigned long long)digests->alone);
}

static json_t *json_of(struct cli *cli, const struct digests *digests)
{
    json_t *list = json_array();
    struct vnode vnode = {0};
    while (vnode_next(digests, &vnode)) {
        json_t *copies = json_array();
        for (size_t i = vnode.from; i < vnode.to; i++) {
            const struct held *held = &digests->held[i];
            json_array_append_new(
                copies, json_pack("{s:s, s:s, s:I, s:I, s:b, s:s}", "node", held->node, "digest",
                                  arena_printf(&cli->arena, "%016llx",
                                               (unsigned long long)held->digest->digest),
                                  "keys", (json_int_t)held->digest->keys, "floor",
                                  (json_int_t)held->digest->floor, "complete",
                                  (int)held->digest->complete, "problem", held->digest->problem));
        }
        const digest_words *first = digests->held[vnode.from].digest;
        json_array_append_new(list, json_pack("{s:I, s:s, s:b, s:o}", "partition",
                                              (json_int_t)first->partition, "keyspace",
                                              first->keyspace, "same",
                                              (int)(vnode.equal && vnode.sure), "copies", copies));
    }
    return list;
}

enum cli_exit cli_run_digest(struct cli *cli)
{
    struct round round = round_of(cli);
    struct digests digests = {0};
    char *missing[ROUND_NODES_MAX];
    if (cli_client(cli) == NULL)
        return CLI_USAGE;
    gather(&round, &digests);
    if (round.asked_count == 0)
        return round.exit;
    count_all(&digests);
    size_t missing_count = round_not_asked(&round, missing);
    bool same = digests.unequal + digests.unproven == 0;
    if (cli->json)
        output_json(json_pack("{s:b, s:I, s:I, s:I, s:o, s:o, s:o}", "same", (int)same, "differ",
                              (json_int_t)digests.unequal, "unknown", (json_int_t)digests.unproven,
                              "copies", (json_int_t)digests.copies, "vnodes",
                              json_of(cli, &digests), "asked",
                              output_json_names(round.asked, round.asked_count), "not_asked",
                              output_json_names(missing, missing_count)));
    else
        print_table(cli, &digests, missing_count == 0);
    round_say_not_asked(&round, "copies", missing, missing_count);
    if (round.failed > 0)
        return round.exit;
    return same && missing_count == 0 ? CLI_OK : CLI_UNHEALTHY;
}
