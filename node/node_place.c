#include "node/node_place.h"

#include "node/cluster_list.h"

static bool is_listed(const char *name, const struct topology_seed *seeds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(seeds[i].name, name) == 0)
            return true;
    }
    return false;
}

/* Its place in a cluster that runs, from the directory or from a seed. Leaves node->joined false
 * when it has, or is to have, none. */
static enum err place_join(struct node *node, const struct topology_seed *seeds, size_t count,
                           char *why, size_t why_size)
{
    const struct config *config = node->config;
    const char *directory = config->text[CONFIG_data_dir];
    struct join_record record;
    enum err err = join_read(&node->arena, directory, &record, why, why_size);
    if (err != OK)
        return err;
    bool asks = config->text[CONFIG_join][0] != '\0' && !join_has_store(directory) &&
                !is_listed(config->text[CONFIG_name], seeds, count);
    if (!record.answered && asks)
        err = join_ask(&node->arena, config, &node->log, &record, why, why_size);
    if (err != OK || !record.answered)
        return err;
    node->joined = true;
    node->topology = record.topology;
    node->self = record.number;
    return OK;
}

enum err node_place_find(struct node *node, char *why, size_t why_size)
{
    const struct config *config = node->config;
    struct topology_seed *seeds = NULL;
    size_t count = 0;
    enum err err = cluster_list_parse(&node->arena, config->text[CONFIG_initial_cluster], &seeds,
                                      &count, why, why_size);
    if (err == OK)
        err = place_join(node, seeds, count, why, why_size);
    node->listed = seeds;
    node->listed_count = count;
    if (err != OK || node->joined)
        return err;
    if (count == 0) {
        struct topology_seed *alone = &seeds[count++];
        snprintf(alone->name, sizeof alone->name, "%s", config->text[CONFIG_name]);
        snprintf(alone->address, sizeof alone->address, "%s", join_advertised_address(config));
        snprintf(alone->data_center, sizeof alone->data_center, "%s",
                 config->text[CONFIG_data_center]);
        snprintf(alone->zone, sizeof alone->zone, "%s", config->text[CONFIG_zone]);
        alone->weight = (uint16_t)config->number[CONFIG_weight];
    }
    const char *problem = NULL;
    err = topology_initial(&node->arena, seeds, count, (uint32_t)config->number[CONFIG_partitions],
                           &node->topology, &problem);
    if (err != OK) {
        static const char prefix[] = "initial cluster: ";
        bool has_it = strncmp(problem, prefix, sizeof prefix - 1) == 0;
        snprintf(why, why_size, "%s: %s",
                 config->text[CONFIG_initial_cluster][0] != '\0' ? "initial-cluster" : "this node",
                 problem + (has_it ? sizeof prefix - 1 : 0));
        return err;
    }
    const struct member *self = topology_member_by_name(&node->topology, config->text[CONFIG_name]);
    if (self == NULL) {
        snprintf(why, why_size,
                 "name \"%s\" is not in initial-cluster; give --name one of the names listed there",
                 config->text[CONFIG_name]);
        return ERR_INVALID;
    }
    node->self = self->number;
    return OK;
}
