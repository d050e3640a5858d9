#include "cli/plan.h"

#include "cli/output.h"

#include <inttypes.h>

static const char *const node_states[] = {"unknown", "joining", "normal", "leaving", "removed"};

const char *plan_bytes(struct arena *arena, uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < ARRAY_COUNT(units)) {
        value /= 1024;
        unit++;
    }
    return arena_printf(arena, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
}

const char *plan_time(struct arena *arena, uint64_t ms)
{
    uint64_t s = (ms + 999) / 1000;
    if (s == 0)
        return "-";
    return arena_printf(arena, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64, s / 3600, s / 60 % 60,
                        s % 60);
}

/* -- the change -------------------------------------------------------------------------------- */

static const char *state_name(const Coterie__V1__Change *change)
{
    static const char *const names[] = {"none", "staged", "running"};
    return (size_t)change->state < ARRAY_COUNT(names) ? names[change->state] : "?";
}

const char *plan_change_text(struct arena *arena, const Coterie__V1__Change *change)
{
    return arena_printf(arena, "%s%s%s", state_name(change), change->aborting ? ", aborting" : "",
                        change->paused ? ", paused" : "");
}

json_t *plan_change_json(const Coterie__V1__Change *change)
{
    return json_pack(
        "{s:s, s:b, s:b, s:I, s:I, s:I, s:{s:I, s:I, s:I, s:I}, s:o}", "state", state_name(change),
        "paused", (int)change->paused, "aborting", (int)change->aborting, "began_epoch",
        (json_int_t)change->began_epoch, "began_at_ms", (json_int_t)change->began_at_ms,
        "bytes_per_second", (json_int_t)change->bytes_per_second, "partitions", "waiting",
        (json_int_t)change->partitions_waiting, "announced",
        (json_int_t)change->partitions_announced, "copied", (json_int_t)change->partitions_copied,
        "done", (json_int_t)change->partitions_done, "parts",
        output_json_names(change->parts, change->n_parts));
}

void plan_print_parts(const Coterie__V1__Change *change)
{
    for (size_t i = 0; i < change->n_parts; i++)
        printf("  %s\n", change->parts[i]);
}

/* -- the plan, for people ---------------------------------------------------------------------- */

static const char *from_to(struct arena *arena, uint32_t before, uint32_t after)
{
    if (before == after)
        return arena_printf(arena, "%u", after);
    return arena_printf(arena, "%u -> %u", before, after);
}

static const char *share(struct arena *arena, double before, double after)
{
    return arena_printf(arena, "%.1f %% -> %.1f %%", 100 * before, 100 * after);
}

static const char *state_of(const Coterie__V1__PlanNode *node)
{
    if (node->gone)
        return "gone";
    return (size_t)node->state < ARRAY_COUNT(node_states) ? node_states[node->state] : "?";
}

static void print_nodes(struct arena *arena, const Coterie__V1__Plan *plan)
{
    struct table table;
    table_init(&table, arena,
               (const char *const[]){"NODE", "STATE", "PLACE", "WEIGHT", "SHARE", "COPIES",
                                     "RECEIVES", "FREE", "FITS", "TIME", NULL});
    for (size_t i = 0; i < plan->n_nodes; i++) {
        const Coterie__V1__PlanNode *node = plan->nodes[i];
        bool receives = node->gains > 0;
        const char *bytes = plan->bytes_known ? plan_bytes(arena, node->bytes_in) : "?";
        table_row(&table, (const char *const[]){
                              node->node, state_of(node),
                              arena_printf(arena, "%s/%s", node->data_center, node->zone),
                              arena_printf(arena, "%u", node->weight),
                              share(arena, node->share_before, node->share_after),
                              from_to(arena, node->copies_before, node->copies_after),
                              receives ? arena_printf(arena, "%u, %s", node->gains, bytes) : "-",
                              node->free_known ? plan_bytes(arena, node->free_bytes) : "?",
                              receives ? (node->fits ? "yes" : "NO") : "-",
                              plan_time(arena, node->eta_ms), NULL});
    }
    table_print(&table);
}

static void print_zones(struct arena *arena, const Coterie__V1__Plan *plan)
{
    struct table table;
    table_init(&table, arena, (const char *const[]){"ZONE", "NODES", "COPIES", NULL});
    for (size_t i = 0; i < plan->n_zones; i++) {
        const Coterie__V1__PlanZone *zone = plan->zones[i];
        table_row(&table, (const char *const[]){
                              arena_printf(arena, "%s/%s", zone->data_center, zone->zone),
                              from_to(arena, zone->nodes_before, zone->nodes_after),
                              from_to(arena, zone->copies_before, zone->copies_after), NULL});
    }
    table_print(&table);
}

void plan_print(struct cli *cli, const Coterie__V1__Plan *plan, const char *state)
{
    struct arena *arena = &cli->arena;
    printf("change, %s (epoch %" PRIu64 ")\n",
           state != NULL ? state : plan_change_text(arena, plan->change), plan->epoch);
    plan_print_parts(plan->change);
    putchar('\n');
    print_nodes(arena, plan);
    putchar('\n');
    print_zones(arena, plan);
    printf("\nmoves     %u copies of partitions (the least that these shares need: %u)%s%s\n",
           plan->copies_moved, plan->copies_moved_min, plan->bytes_known ? ", " : "",
           plan->bytes_known ? plan_bytes(arena, plan->bytes) : "");
    if (plan->bytes_known)
        printf("pace      %s/s for each node that receives: about %s\n",
               plan_bytes(arena, plan->bytes_per_second),
               plan->eta_ms == 0 ? "no time" : plan_time(arena, plan->eta_ms));
    printf("balance   %.2f -> %.2f (copies by weight, the greatest to the mean; 1 is even)\n",
           plan->balance_before, plan->balance_after);
    for (size_t i = 0; i < plan->n_warnings; i++)
        printf("warning   %s\n", plan->warnings[i]);
    for (size_t i = 0; i < plan->n_refusals; i++)
        printf("REFUSED   %s\n", plan->refusals[i]);
}

/* -- the plan, for programs -------------------------------------------------------------------- */

static json_t *node_json(const Coterie__V1__PlanNode *node)
{
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, s:I, s:I, s:I, s:b, s:I}",
        "node", node->node, "state", state_of(node), "data_center", node->data_center, "zone",
        node->zone, "weight", (json_int_t)node->weight, "partitions_before",
        (json_int_t)node->partitions_before, "partitions_after", (json_int_t)node->partitions_after,
        "copies_before", (json_int_t)node->copies_before, "copies_after",
        (json_int_t)node->copies_after, "share_before", node->share_before, "share_after",
        node->share_after, "gains", (json_int_t)node->gains, "loses", (json_int_t)node->loses,
        "bytes_in", (json_int_t)node->bytes_in, "bytes_out", (json_int_t)node->bytes_out, "fits",
        (int)node->fits, "eta_ms", (json_int_t)node->eta_ms);
    if (node->free_known)
        json_object_set_new(object, "free_bytes", json_integer((json_int_t)node->free_bytes));
    return object;
}

json_t *plan_json(const Coterie__V1__Plan *plan)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < plan->n_nodes; i++)
        json_array_append_new(nodes, node_json(plan->nodes[i]));
    json_t *zones = json_array();
    for (size_t i = 0; i < plan->n_zones; i++) {
        const Coterie__V1__PlanZone *zone = plan->zones[i];
        json_array_append_new(zones, json_pack("{s:s, s:s, s:I, s:I, s:I, s:I}", "data_center",
                                               zone->data_center, "zone", zone->zone,
                                               "nodes_before", (json_int_t)zone->nodes_before,
                                               "nodes_after", (json_int_t)zone->nodes_after,
                                               "copies_before", (json_int_t)zone->copies_before,
                                               "copies_after", (json_int_t)zone->copies_after));
    }
    return json_pack(
        "{s:I, s:o, s:o, s:o, s:I, s:I, s:I, s:b, s:I, s:I, s:f, s:f, s:o, s:o}", "epoch",
        (json_int_t)plan->epoch, "change", plan_change_json(plan->change), "nodes", nodes, "zones",
        zones, "copies_moved", (json_int_t)plan->copies_moved, "copies_moved_min",
        (json_int_t)plan->copies_moved_min, "bytes", (json_int_t)plan->bytes, "bytes_known",
        (int)plan->bytes_known, "bytes_per_second", (json_int_t)plan->bytes_per_second, "eta_ms",
        (json_int_t)plan->eta_ms, "balance_before", plan->balance_before, "balance_after",
        plan->balance_after, "warnings", output_json_names(plan->warnings, plan->n_warnings),
        "refusals", output_json_names(plan->refusals, plan->n_refusals));
}
