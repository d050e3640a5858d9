/* The status page and its JSON: the cluster as this node sees it. */
#include "node/convergence.h"
#include "node/http.h"
#include "node/node.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>

static const char *liveness_text(enum liveness liveness)
{
    static const char *const texts[] = {"unknown", "alive", "down"};
    return texts[liveness];
}

static const char *state_text(const struct member *member)
{
    static const char *const texts[] = {"joining", "normal", "leaving", "removed"};
    return member->gone && member->status != MEMBER_REMOVED ? "gone" : texts[member->status];
}

static uint32_t partitions_owned(const struct topology *topology, const struct member *member)
{
    uint32_t owned = 0;
    for (uint32_t partition = 0; partition < topology->partitions; partition++) {
        if (topology_owner(topology, TOPOLOGY_NOW, member_place(member)->data_center, partition) ==
            member->number)
            owned++;
    }
    return owned;
}

static json_t *members_json(const struct view *view)
{
    json_t *members = json_array();
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        json_array_append_new(
            members,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:f, s:I}", "name", member->name,
                      "state", state_text(member), "address", member->address, "data_center",
                      view->topology.data_centers[member_place(member)->data_center], "zone",
                      member_place(member)->zone, "weight", (int)member_place(member)->weight,
                      "partitions", (int)partitions_owned(&view->topology, member), "liveness",
                      liveness_text(view->members[i].liveness), "phi", view->members[i].phi,
                      "generation", (json_int_t)identity_starts(view->members[i].generation)));
    }
    return members;
}

static json_t *convergence_json(const struct node *node, const struct view *view)
{
    json_t *peers = json_array();
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        struct peer_convergence peer = convergence_with(node, view, member->number);
        if (peer.pairs != 0)
            json_array_append_new(
                peers, json_pack("{s:s, s:I, s:I, s:I, s:I}", "peer", member->name, "pairs",
                                 (json_int_t)peer.pairs, "identical", (json_int_t)peer.identical,
                                 "failed", (json_int_t)peer.failed, "identical_as_of_ms",
                                 (json_int_t)peer.as_of_ms));
    }
    return peers;
}

static const char *conflict_text(const struct keyspace *keyspace)
{
    return keyspace->mode == KEYSPACE_CONSISTENT ? "none"
           : keyspace->conflict == KEYSPACE_LWW  ? "lww"
                                                 : "siblings";
}

static json_t *keyspaces_json(const struct view *view)
{
    json_t *keyspaces = json_array();
    for (uint32_t i = 0; i < view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
        if (!keyspace->dropped)
            json_array_append_new(
                keyspaces,
                json_pack("{s:s, s:s, s:i, s:s, s:s, s:b}", "name", keyspace->name, "mode",
                          keyspace->mode == KEYSPACE_CONSISTENT ? "consistent" : "available", "n",
                          (int)keyspace->n, "conflict", conflict_text(keyspace), "durability",
                          keyspace->durability == KEYSPACE_PERIODIC ? "periodic" : "fsync",
                          "strict", (int)keyspace->strict));
    }
    return keyspaces;
}

/* What coterie status lists when this node is asked. */
static void problems_of(struct arena *arena, struct node *node, const struct view *view,
                        struct problems *ret_problems)
{
    struct own_troubles troubles = node_own_troubles(node);
    problems_find(arena, view, node->config->text[CONFIG_name], &troubles, ret_problems);
}

static json_t *problems_json(struct node *node, const struct view *view)
{
    struct arena arena;
    struct problems problems;
    json_t *texts = json_array();
    arena_init(&arena, NULL, 0);
    problems_of(&arena, node, view, &problems);
    for (size_t i = 0; i < problems.count; i++)
        json_array_append_new(texts, json_string(problems.texts[i]));
    arena_deinit(&arena);
    return texts;
}

char *status_json(struct node *node)
{
    struct view *view = runtime_view_ref(node->runtime);
    char cluster[33];
    for (int i = 0; i < 16; i++)
        snprintf(cluster + 2 * i, 3, "%02x", view->topology.cluster_id[i]);
    json_t *status = json_pack(
        "{s:s, s:s, s:s, s:I, s:i, s:I, s:I, s:o, s:o, s:o, s:o}", "node",
        node->config->text[CONFIG_name], "version", COTERIE_VERSION, "cluster_id", cluster, "epoch",
        (json_int_t)view->topology.epoch, "partitions", (int)view->topology.partitions,
        "uptime_seconds", (json_int_t)((runtime_now_ns() - node->started_ns) / 1000000000u),
        "generation", (json_int_t)identity_starts(node->boot.generation), "problems",
        problems_json(node, view), "members", members_json(view), "keyspaces", keyspaces_json(view),
        "copies", convergence_json(node, view));
    view_unref(view);
    CHECK(status != NULL);
    char *text = json_dumps(status, JSON_INDENT(2));
    json_decref(status);
    CHECK(text != NULL);
    return text;
}

/* Names come from the operator; still nothing of them is markup. */
static void escape(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '<' || *text == '>' || *text == '&' || *text == '"')
            fprintf(out, "&#%d;", *text);
        else
            fputc(*text, out);
    }
}

static void page_problems(FILE *out, struct node *node, const struct view *view)
{
    struct arena arena;
    struct problems problems;
    arena_init(&arena, NULL, 0);
    problems_of(&arena, node, view, &problems);
    if (problems.count != 0)
        fputs("<h2>Problems</h2><ul>", out);
    for (size_t i = 0; i < problems.count; i++) {
        fputs("<li class=down>", out);
        escape(out, problems.texts[i]);
        fputs("</li>", out);
    }
    fputs(problems.count != 0 ? "</ul>" : "<p class=alive>No problems.</p>", out);
    arena_deinit(&arena);
}

static void page_members(FILE *out, const struct view *view)
{
    fputs("<h2>Nodes</h2><table><tr><th>name<th>state<th>address<th>data centre<th>zone<th>weight"
          "<th>partitions<th>starts<th>liveness<th>phi</tr>",
          out);
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        char phi[DETECTOR_PHI_TEXT_SIZE];
        if (member->status == MEMBER_REMOVED)
            continue;
        fputs("<tr><td>", out);
        escape(out, member->name);
        fprintf(out, "<td>%s<td>", state_text(member));
        escape(out, member->address);
        fputs("<td>", out);
        escape(out, view->topology.data_centers[member_place(member)->data_center]);
        fputs("<td>", out);
        escape(out, member_place(member)->zone);
        fprintf(out, "<td>%u<td>%" PRIu32 "<td>%" PRIu64 "<td class=%s>%s<td>",
                member_place(member)->weight, partitions_owned(&view->topology, member),
                identity_starts(view->members[i].generation),
                liveness_text(view->members[i].liveness), liveness_text(view->members[i].liveness));
        escape(out, detector_phi_text(view->members[i].phi, phi));
        fputs("</tr>", out);
    }
    fputs("</table>", out);
}

/* How far the partitions are that go over; coterie changes says more. */
static void page_change(FILE *out, const struct topology *topology)
{
    uint32_t phases[PHASE_DONE + 1] = {0};
    if (topology->change.state == CHANGE_NONE)
        return;
    for (uint32_t i = 0; i < topology->partitions; i++)
        phases[topology->phases[i]]++;
    fprintf(out,
            "<h2>Change</h2><p>%s%s%s. Partitions: %" PRIu32 " waiting, %" PRIu32
            " announced, %" PRIu32 " copied, %" PRIu32 " done.</p>",
            topology->change.state == CHANGE_STAGED ? "Staged: nothing moves before it is committed"
                                                    : "Running",
            topology->change.paused ? ", paused" : "",
            topology->change.aborting ? ", aborting" : "", phases[PHASE_WAITING],
            phases[PHASE_ANNOUNCED], phases[PHASE_COPIED], phases[PHASE_DONE]);
}

static void page_copies(FILE *out, const struct node *node, const struct view *view)
{
    const struct anti_entropy_figures *figures = anti_entropy_figures(node->anti_entropy);
    fputs("<h2>Copies</h2><table><tr><th>compared with<th>pairs<th>identical<th>failed"
          "<th>all identical as of</tr>",
          out);
    for (uint32_t i = 0; i < view->topology.member_count; i++) {
        const struct member *member = &view->topology.members[i];
        struct peer_convergence peer = convergence_with(node, view, member->number);
        if (peer.pairs == 0)
            continue;
        fputs("<tr><td>", out);
        escape(out, member->name);
        fprintf(out, "<td>%" PRIu32 "<td>%" PRIu32 "<td>%" PRIu32, peer.pairs, peer.identical,
                peer.failed);
        if (peer.as_of_ms == 0)
            fputs("<td class=unknown>not proven yet</tr>", out);
        else
            fprintf(out, "<td class=alive>%.0f s ago</tr>", convergence_age_s(peer.as_of_ms));
    }
    fprintf(out,
            "</table><p>Each pair is compared by one of its nodes. Copies that may lack something: "
            "%" PRIu64 ". Copies being filled after a loss: %" PRIu64 ". Repairs running: %" PRIu64
            ".</p>",
            counter_get(&figures->dirty),
            counter_get(&figures->incomplete) + counter_get(&figures->refills),
            counter_get(&figures->tasks));
}

static void page_keyspaces(FILE *out, const struct view *view)
{
    fputs("<h2>Keyspaces</h2><table><tr><th>name<th>N<th>conflict<th>durability<th>quorum<th>read"
          "<th>write</tr>",
          out);
    for (uint32_t i = 0; i < view->keyspaces.count; i++) {
        const struct keyspace *keyspace = &view->keyspaces.keyspaces[i];
        bool consistent = keyspace->mode == KEYSPACE_CONSISTENT;
        if (keyspace->dropped)
            continue;
        fprintf(out, "<tr><td>%s<td>%u<td>%s<td>%s<td>%s<td>%s<td>%s</tr>", keyspace->name,
                keyspace->n, conflict_text(keyspace),
                keyspace->durability == KEYSPACE_PERIODIC ? "periodic" : "fsync",
                consistent         ? "majority"
                : keyspace->strict ? "strict"
                                   : "sloppy",
                consistent ? "-" : consistency_text(keyspace->read_level),
                consistent ? "-" : consistency_text(keyspace->write_level));
    }
    fputs("</table>", out);
}

static void page_actors(FILE *out, struct node *node)
{
    struct mailbox_figures figures[RUNTIME_ACTORS_MAX];
    size_t count = runtime_mailbox_figures(node->runtime, figures, RUNTIME_ACTORS_MAX);
    fputs("<h2>Actors</h2><table><tr><th>actor<th>thread<th>waiting<th>most<th>posted"
          "<th>messages a batch<th>dropped</tr>",
          out);
    for (size_t i = 0; i < count; i++) {
        const struct mailbox_figures *f = &figures[i];
        fprintf(out,
                "<tr><td>%s %u<td>%s<td>%" PRIu64 "<td>%" PRIu64 "<td>%" PRIu64
                "<td>%.1f<td>%" PRIu64 "</tr>",
                f->actor_name, f->id.index, f->thread_name, f->depth, f->depth_max, f->posted,
                f->drained_batches == 0 ? 0.0 : (double)f->posted / (double)f->drained_batches,
                f->dropped);
    }
    fputs("</table>", out);
}

char *status_page(struct node *node)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    CHECK(out != NULL);
    struct view *view = runtime_view_ref(node->runtime);
    struct engine_figures store;
    engine_figures(node->engine, &store);
    fputs("<!doctype html><html lang=en><meta charset=utf-8><meta http-equiv=refresh content=5>"
          "<meta name=viewport content=\"width=device-width\"><title>Coterie: ",
          out);
    escape(out, node->config->text[CONFIG_name]);
    fputs("</title><style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;"
          "padding:0 1rem;color:#1c2330;background:#fff}h1{font-size:1.5rem;margin:0}"
          "h2{font-size:1.05rem;margin:1.6rem 0 .4rem}table{border-collapse:collapse;width:100%}"
          "th{text-align:left;color:#5b6575;font-weight:500}th,td{padding:.25rem .6rem .25rem 0;"
          "border-bottom:1px solid #e4e8ee}.alive{color:#11734b}.down{color:#b3261e;"
          "font-weight:600}.unknown{color:#8a6100}p{color:#5b6575}@media(prefers-color-scheme:dark)"
          "{body{background:#12161d;color:#dfe5ee}th,p{color:#97a3b4}th,td{border-color:#2a313c}"
          ".alive{color:#5ad19b}.down{color:#ff8a80}.unknown{color:#e5b95b}}</style><h1>",
          out);
    escape(out, node->config->text[CONFIG_name]);
    fprintf(out,
            "</h1><p>Coterie %s, up %" PRIu64 " s, topology epoch %" PRIu64 ", %" PRIu32
            " partitions, about %" PRIu64 " keys here in %" PRIu64 " MiB of SSTables and %" PRIu64
            " MiB of commit log. <a href=/metrics>metrics</a> <a href=/status.json>JSON</a></p>",
            COTERIE_VERSION, (runtime_now_ns() - node->started_ns) / 1000000000u,
            view->topology.epoch, view->topology.partitions, store.keys_estimate,
            store.sst_bytes >> 20, store.wal_bytes >> 20);
    page_problems(out, node, view);
    page_members(out, view);
    page_change(out, &view->topology);
    page_copies(out, node, view);
    page_keyspaces(out, view);
    page_actors(out, node);
    view_unref(view);
    fputs("</html>", out);
    fclose(out);
    return text;
}
