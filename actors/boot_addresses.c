#include "actors/boot_addresses.h"

#include "base/codec.h"

#include <string.h>

#define META_ADDRESSES "addresses"
#define META_LISTED    "addresses-listed" /* by name: the list of a joined member's last start */

enum err boot_addresses_read(struct store *meta, struct arena *arena, struct boot *boot)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(META_ADDRESSES), arena, &value);
    boot->addresses = ARENA_NEW(arena, struct boot_address, MEMBERS_MAX);
    if (err != OK)
        return err == ERR_NOT_FOUND ? OK : err;
    struct reader reader = reader_of(value);
    uint32_t count = (uint32_t)reader_varint_max(&reader, MEMBERS_MAX);
    for (uint32_t i = 0; i < count; i++) {
        struct boot_address *entry = &boot->addresses[i];
        entry->member = (uint32_t)reader_varint_max(&reader, UINT32_MAX);
        struct bytes address = reader_sized_bytes(&reader, ADDRESS_MAX);
        struct bytes instead_of = reader_sized_bytes(&reader, ADDRESS_MAX);
        if (reader.failed)
            break;
        memcpy(entry->address, address.data, address.size);
        memcpy(entry->instead_of, instead_of.data, instead_of.size);
    }
    boot->address_count = count;
    return reader_done(&reader) ? OK : ERR_CORRUPT;
}

enum err boot_addresses_write(struct store *meta, struct arena *arena, const struct boot *boot)
{
    struct writer writer;
    writer_init(&writer, arena, 256);
    writer_varint(&writer, boot->address_count);
    for (uint32_t i = 0; i < boot->address_count; i++) {
        const struct boot_address *entry = &boot->addresses[i];
        writer_varint(&writer, entry->member);
        writer_sized_bytes(&writer, bytes_of_string(entry->address));
        writer_sized_bytes(&writer, bytes_of_string(entry->instead_of));
    }
    return store_put(meta, STORE_META, bytes_of_string(META_ADDRESSES), writer_result(&writer),
                     STORE_SYNC_NOW);
}

void boot_addresses_follow(struct boot *boot, const struct topology *before,
                           const struct topology *given)
{
    const struct topology *document = &boot->topology;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < boot->address_count; i++) {
        struct boot_address entry = boot->addresses[i];
        const struct member *member = topology_member(document, entry.member);
        const struct member *listed = topology_member(given, entry.member);
        const struct member *then = topology_member(before, entry.member);
        if (member != NULL && listed != NULL && then != NULL &&
            strcmp(entry.instead_of, member->address) == 0 &&
            strcmp(listed->address, then->address) == 0)
            boot->addresses[kept++] = entry;
    }
    boot->address_count = kept;
    for (uint32_t i = 0; i < given->member_count; i++) {
        const struct member *listed = &given->members[i];
        const struct member *member = topology_member(document, listed->number);
        const struct member *then = topology_member(before, listed->number);
        if (member == NULL || member->status == MEMBER_REMOVED || then == NULL ||
            strcmp(listed->address, then->address) == 0 ||
            strcmp(listed->address, member->address) == 0)
            continue;
        struct boot_address *entry = &boot->addresses[boot->address_count++];
        *entry = (struct boot_address){.member = member->number};
        memcpy(entry->address, listed->address, sizeof entry->address);
        memcpy(entry->instead_of, member->address, sizeof entry->instead_of);
    }
}

/* -- of a member that has joined ----------------------------------------------------------------
 */

static enum err listed_read(struct store *meta, struct arena *arena,
                            struct topology_seed **ret_list, size_t *ret_count)
{
    struct bytes value = {0};
    enum err err = store_read(meta, STORE_META, bytes_of_string(META_LISTED), arena, &value);
    *ret_count = 0;
    if (err != OK)
        return err == ERR_NOT_FOUND ? OK : err;
    struct reader reader = reader_of(value);
    size_t count = (size_t)reader_varint_max(&reader, MEMBERS_MAX);
    struct topology_seed *list = ARENA_NEW(arena, struct topology_seed, count);
    for (size_t i = 0; i < count; i++) {
        struct bytes name = reader_sized_bytes(&reader, NODE_NAME_MAX);
        struct bytes address = reader_sized_bytes(&reader, ADDRESS_MAX);
        if (reader.failed)
            break;
        memcpy(list[i].name, name.data, name.size);
        memcpy(list[i].address, address.data, address.size);
    }
    *ret_list = list;
    *ret_count = count;
    return reader_done(&reader) ? OK : ERR_CORRUPT;
}

enum err boot_addresses_keep(struct store *meta, struct arena *arena,
                             const struct topology_seed *list, size_t count)
{
    struct writer writer;
    writer_init(&writer, arena, 64 + 64 * count);
    writer_varint(&writer, count);
    for (size_t i = 0; i < count; i++) {
        writer_sized_bytes(&writer, bytes_of_string(list[i].name));
        writer_sized_bytes(&writer, bytes_of_string(list[i].address));
    }
    return store_put(meta, STORE_META, bytes_of_string(META_LISTED), writer_result(&writer),
                     STORE_SYNC_NOW);
}

static bool is_listed_there(const struct topology_seed *list, size_t count,
                            const struct topology_seed *seed)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].name, seed->name) == 0)
            return strcmp(list[i].address, seed->address) == 0;
    }
    return false;
}

/* NULL: none; there is room for one more then. */
static struct boot_address *entry_of(struct boot *boot, uint32_t member)
{
    for (uint32_t i = 0; i < boot->address_count; i++) {
        if (boot->addresses[i].member == member)
            return &boot->addresses[i];
    }
    return NULL;
}

static void take_news(struct boot *boot, const struct member *member, const char *address)
{
    struct boot_address *entry = entry_of(boot, member->number);
    if (entry == NULL)
        entry = &boot->addresses[boot->address_count++];
    *entry = (struct boot_address){.member = member->number};
    memcpy(entry->address, address, sizeof entry->address);
    memcpy(entry->instead_of, member->address, sizeof entry->instead_of);
}

enum err boot_addresses_by_name(struct store *meta, struct arena *arena,
                                const struct topology_seed *list, size_t count, struct boot *boot)
{
    struct topology_seed *before = NULL;
    size_t before_count;
    enum err err = listed_read(meta, arena, &before, &before_count);
    if (err != OK)
        return err;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < boot->address_count; i++) {
        const struct member *member = topology_member(&boot->topology, boot->addresses[i].member);
        if (member != NULL && member->status != MEMBER_REMOVED &&
            strcmp(member->address, boot->addresses[i].instead_of) == 0)
            boot->addresses[kept++] = boot->addresses[i];
    }
    boot->address_count = kept;
    for (size_t i = 0; i < count; i++) {
        const struct member *member = topology_member_by_name(&boot->topology, list[i].name);
        if (member != NULL && !is_listed_there(before, before_count, &list[i]))
            take_news(boot, member, list[i].address);
    }
    err = boot_addresses_keep(meta, arena, list, count);
    return err == OK ? boot_addresses_write(meta, arena, boot) : err;
}
