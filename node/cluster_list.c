#include "node/cluster_list.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

static bool copy_text(char *ret, size_t size, const char *from)
{
    return (size_t)snprintf(ret, size, "%s", from) < size;
}

static bool parse_attribute(struct topology_seed *seed, const char *attribute)
{
    if (strncmp(attribute, "dc=", 3) == 0)
        return copy_text(seed->data_center, sizeof seed->data_center, attribute + 3);
    if (strncmp(attribute, "zone=", 5) == 0)
        return copy_text(seed->zone, sizeof seed->zone, attribute + 5);
    if (strncmp(attribute, "weight=", 7) == 0 && isdigit((unsigned char)attribute[7])) {
        char *end = NULL;
        unsigned long weight = strtoul(attribute + 7, &end, 10);
        seed->weight = (uint16_t)(weight > WEIGHT_MAX ? 0 : weight);
        return *end == '\0' && seed->weight > 0;
    }
    return false;
}

/* `entry` is cut up in place. */
static const char *parse_entry(struct topology_seed *seed, char *entry)
{
    char *rest = NULL;
    char *head = strtok_r(entry, ";", &rest);
    char *equals = head == NULL ? NULL : strchr(head, '=');
    *seed = (struct topology_seed){.weight = 1};
    if (equals == NULL)
        return "name=host:port is expected";
    *equals = '\0';
    char *colon = strrchr(equals + 1, ':');
    if (colon == NULL || colon == equals + 1 || atoi(colon + 1) <= 0 || atoi(colon + 1) > 65535)
        return "the address is not host:port";
    if (!copy_text(seed->name, sizeof seed->name, head) || head[0] == '\0' ||
        !copy_text(seed->address, sizeof seed->address, equals + 1))
        return "the name is empty, or name or address is too long";
    for (char *attribute = strtok_r(NULL, ";", &rest); attribute != NULL;
         attribute = strtok_r(NULL, ";", &rest)) {
        if (!parse_attribute(seed, attribute))
            return "behind the address only ;dc=NAME ;zone=NAME ;weight=1..64 may stand";
    }
    return NULL;
}

enum err cluster_list_parse(struct arena *arena, const char *text, struct topology_seed **ret_seeds,
                            size_t *ret_count, char *why, size_t why_size)
{
    struct topology_seed *seeds = ARENA_NEW(arena, struct topology_seed, MEMBERS_MAX);
    size_t count = 0;
    char *copy = arena_string(arena, bytes_of_string(text));
    char *rest = NULL;
    for (char *entry = strtok_r(copy, ", \n", &rest); entry != NULL;
         entry = strtok_r(NULL, ", \n", &rest)) {
        char *original = arena_string(arena, bytes_of_string(entry));
        if (count == MEMBERS_MAX) {
            snprintf(why, why_size, "initial-cluster: more than %u nodes", MEMBERS_MAX);
            return ERR_INVALID;
        }
        const char *problem = parse_entry(&seeds[count++], entry);
        if (problem != NULL) {
            snprintf(why, why_size, "initial-cluster: \"%.200s\": %s", original, problem);
            return ERR_INVALID;
        }
    }
    *ret_seeds = seeds;
    *ret_count = count;
    return OK;
}
