#include "node/convergence.h"

#include <inttypes.h>

struct peer_convergence convergence_with(const struct node *node, const struct view *view,
                                         uint32_t member)
{
    struct peer_convergence sum = {.as_of_ms = UINT64_MAX};
    for (uint32_t partition = 0; partition < view->topology.partitions; partition++) {
        struct anti_entropy_proof proof;
        if (!anti_entropy_proof(node->anti_entropy, partition, member, &proof) || !proof.driven)
            continue;
        sum.pairs++;
        sum.identical += proof.identical_as_of_ms != 0 && proof.state != ANTI_ENTROPY_FAILED;
        sum.failed += proof.state == ANTI_ENTROPY_FAILED;
        if (proof.identical_as_of_ms < sum.as_of_ms)
            sum.as_of_ms = proof.identical_as_of_ms;
    }
    if (sum.pairs == 0)
        sum.as_of_ms = 0;
    return sum;
}

double convergence_age_s(uint64_t as_of_ms)
{
    uint64_t now_ms = runtime_wall_ms();
    return now_ms > as_of_ms ? (double)(now_ms - as_of_ms) * 1e-3 : 0;
}

static void gauge(FILE *out, const char *name, const char *help)
{
    fprintf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

void convergence_metrics(const struct node *node, const struct view *view, FILE *out)
{
    static const struct {
        const char *name, *help;
    } metrics[] = {
        {"coterie_anti_entropy_peer_pairs", "Pairs of copies that this node compares with a peer."},
        {"coterie_anti_entropy_peer_pairs_identical",
         "Among them: proven identical since the start, the last comparison included."},
        {"coterie_anti_entropy_peer_identical_age_seconds",
         "All of them were identical this long ago; absent while one has no proof."},
    };
    for (size_t i = 0; i < ARRAY_COUNT(metrics); i++) {
        gauge(out, metrics[i].name, metrics[i].help);
        for (uint32_t j = 0; j < view->topology.member_count; j++) {
            const struct member *member = &view->topology.members[j];
            struct peer_convergence peer = convergence_with(node, view, member->number);
            if (peer.pairs == 0 || (i == 2 && peer.as_of_ms == 0))
                continue;
            fprintf(out, "%s{peer=\"%s\"} ", metrics[i].name, member->name);
            if (i == 2)
                fprintf(out, "%.3f\n", convergence_age_s(peer.as_of_ms));
            else
                fprintf(out, "%" PRIu32 "\n", i == 0 ? peer.pairs : peer.identical);
        }
    }
    uint64_t oldest_ms = counter_get(&anti_entropy_figures(node->anti_entropy)->identical_as_of_ms);
    gauge(out, "coterie_anti_entropy_identical_age_seconds",
          "All pairs that this node compares were identical this long ago; absent while one has no "
          "proof.");
    if (oldest_ms != 0)
        fprintf(out, "coterie_anti_entropy_identical_age_seconds %.3f\n",
                convergence_age_s(oldest_ms));
}
