/* Cluster.Status: what anti-entropy has proven of the copies that this node compares. */
#include "base/check.h"
#include "rpc/cluster.h"

typedef Coterie__V1__CopyPair pair_words;
typedef Coterie__V1__Convergence convergence_words;

/* What is behind, by why. */
struct behind {
    uint32_t waiting; /* with peers that are alive */
    uint32_t failed;
    uint32_t down[MEMBERS_MAX]; /* as topology.members */
};

/* The pairs of copies in the whole cluster: any two nodes that are replicas of one partition in
 * some keyspace. */
static uint32_t pairs_in_cluster(const struct view *view)
{
    const struct topology *topology = &view->topology;
    uint32_t pairs = 0;
    for (uint32_t partition = 0; partition < topology->partitions; partition++) {
        uint64_t together[MEMBERS_MAX] = {0}; /* by member number - 1: with whom */
        for (uint32_t i = 0; i < view->keyspaces.count; i++) {
            const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
            struct replica_set set;
            if (keyspace->dropped)
                continue;
            view_replica_set(view, keyspace, partition, &set);
            uint64_t all = 0;
            for (uint32_t j = 0; j < set.count; j++)
                all |= 1ull << (set.replicas[j].member - 1);
            for (uint32_t j = 0; j < set.count; j++)
                together[set.replicas[j].member - 1] |= all;
        }
        for (uint32_t i = 0; i < MEMBERS_MAX; i++)
            pairs += (uint32_t)__builtin_popcountll(together[i] & ~(1ull << i));
    }
    return pairs / 2; /* each was met from both sides */
}

static Coterie__V1__CopyPair__State state_words(enum anti_entropy_state state)
{
    switch (state) {
    case ANTI_ENTROPY_WAITING:
        return COTERIE__V1__COPY_PAIR__STATE__STATE_WAITING;
    case ANTI_ENTROPY_RUNNING:
        return COTERIE__V1__COPY_PAIR__STATE__STATE_RUNNING;
    case ANTI_ENTROPY_IDENTICAL:
        return COTERIE__V1__COPY_PAIR__STATE__STATE_IDENTICAL;
    case ANTI_ENTROPY_FAILED:
        return COTERIE__V1__COPY_PAIR__STATE__STATE_FAILED;
    }
    return COTERIE__V1__COPY_PAIR__STATE__STATE_UNSPECIFIED;
}

static pair_words *pair_new(struct request *request, uint32_t partition, uint32_t member_index,
                            const struct anti_entropy_proof *proof)
{
    pair_words *pair = arena_alloc(&request->arena, sizeof *pair);
    coterie__v1__copy_pair__init(pair);
    pair->partition = partition;
    pair->peer = text_of(request->view->topology.members[member_index].name);
    pair->state = state_words(proof->state);
    pair->driven = proof->driven;
    pair->identical_as_of_ms = proof->identical_as_of_ms;
    pair->attempted_ms = proof->attempted_ms;
    pair->keys_repaired = proof->keys_repaired;
    pair->bytes_moved = proof->bytes_moved;
    return pair;
}

static void pair_count(const struct view *view, uint32_t member_index,
                       const struct anti_entropy_proof *proof, convergence_words *words,
                       struct behind *behind)
{
    words->pairs++;
    bool proven = proof->identical_as_of_ms != 0 && proof->state != ANTI_ENTROPY_FAILED;
    if (proven) {
        words->identical++;
        if (words->identical_as_of_ms == 0 || proof->identical_as_of_ms < words->identical_as_of_ms)
            words->identical_as_of_ms = proof->identical_as_of_ms;
        return;
    }
    words->behind++;
    if (!view_alive(view, view->topology.members[member_index].number))
        behind->down[member_index]++;
    else if (proof->state == ANTI_ENTROPY_FAILED)
        behind->failed++;
    else
        behind->waiting++;
}

static void add_reasons(struct request *request, const struct behind *behind,
                        convergence_words *words)
{
    struct arena *arena = &request->arena;
    const struct topology *topology = &request->view->topology;
    const char *self = request->call->edge->options->node_name;
    words->reasons = ARENA_NEW(arena, char *, topology->member_count + 4);
    for (uint32_t i = 0; i < topology->member_count; i++) {
        if (behind->down[i] > 0)
            words->reasons[words->n_reasons++] =
                arena_printf(arena, "%u that %s compares with node %s, which is down",
                             behind->down[i], self, topology->members[i].name);
    }
    if (behind->failed > 0)
        words->reasons[words->n_reasons++] =
            arena_printf(arena, "%u whose last comparison by %s did not end (it is tried again)",
                         behind->failed, self);
    if (behind->waiting > 0)
        words->reasons[words->n_reasons++] =
            arena_printf(arena, "%u that %s has not compared yet", behind->waiting, self);
    if (words->dirty > 0)
        words->reasons[words->n_reasons++] =
            arena_printf(arena, "%u copies may lack writes that %s knows of", words->dirty, self);
    if (words->incomplete > 0)
        words->reasons[words->n_reasons++] =
            arena_printf(arena, "%u copies of %s were lost and %s", words->incomplete, self,
                         view_keyspaces_heard(request->view)
                             ? "are being filled (what holds one up: coterie changes)"
                             : "wait until it has heard from a majority of the "
                               "members which keyspaces there are");
}

convergence_words *convergence_new(struct request *request, bool list)
{
    const struct anti_entropy *anti_entropy = request->call->edge->options->anti_entropy;
    const struct view *view = request->view;
    if (anti_entropy == NULL)
        return NULL;
    const struct anti_entropy_figures *figures = anti_entropy_figures(anti_entropy);
    convergence_words *words = arena_alloc(&request->arena, sizeof *words);
    coterie__v1__convergence__init(words);
    words->pairs_in_cluster = pairs_in_cluster(view);
    words->dirty = (uint32_t)counter_get(&figures->dirty);
    words->incomplete =
        (uint32_t)(counter_get(&figures->incomplete) + counter_get(&figures->refills));
    words->now_ms = runtime_wall_ms();
    uint32_t most = view->topology.partitions * view->topology.member_count;
    if (list)
        words->list = ARENA_NEW(&request->arena, pair_words *, most);
    struct behind behind = {0};
    for (uint32_t partition = 0; partition < view->topology.partitions; partition++) {
        for (uint32_t i = 0; i < view->topology.member_count; i++) {
            struct anti_entropy_proof proof;
            if (!anti_entropy_proof(anti_entropy, partition, view->topology.members[i].number,
                                    &proof))
                continue;
            if (proof.driven)
                pair_count(view, i, &proof, words, &behind);
            if (list)
                words->list[words->n_list++] = pair_new(request, partition, i, &proof);
        }
    }
    add_reasons(request, &behind, words);
    return words;
}
