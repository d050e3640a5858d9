#include "model/keyspace.h"

#include "model/hash.h"

#include <string.h>

#define FORMAT_VERSION 1u
/* The byte that was `dropped` alone: definitions without new properties keep their bytes. */
#define FLAG_DROPPED         1u
#define FLAG_STRICT          2u
#define BUILTIN_NAME         "default"
#define BUILTIN_CREATED_AT   1u
#define N_DEFAULT            3u
#define DATA_CENTER_NAME_MAX (sizeof((struct keyspace *)NULL)->data_centers[0].name - 1)

bool keyspace_name_valid(const char *name)
{
    if (name[0] < 'a' || name[0] > 'z')
        return false;
    size_t size = strnlen(name, KEYSPACE_NAME_MAX + 1);
    for (size_t i = 1; i < size; i++) {
        bool letter = name[i] >= 'a' && name[i] <= 'z';
        bool digit = name[i] >= '0' && name[i] <= '9';
        if (!letter && !digit && name[i] != '_' && name[i] != '-')
            return false;
    }
    return size <= KEYSPACE_NAME_MAX;
}

uint32_t keyspace_id(const char *name, uint64_t created_at)
{
    return (uint32_t)hash_bytes(bytes_of_string(name), created_at);
}

struct keyspace keyspace_default(const char *name)
{
    struct keyspace keyspace = {
        .mode = KEYSPACE_AVAILABLE,
        .conflict = KEYSPACE_SIBLINGS,
        .durability = KEYSPACE_FSYNC,
        .n = N_DEFAULT,
        .read_level = CONSISTENCY_QUORUM,
        .write_level = CONSISTENCY_QUORUM,
    };
    size_t size = strnlen(name, KEYSPACE_NAME_MAX + 1);
    if (size <= KEYSPACE_NAME_MAX)
        memcpy(keyspace.name, name, size);
    keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
    return keyspace;
}

struct keyspace keyspace_builtin(void)
{
    struct keyspace keyspace = keyspace_default(BUILTIN_NAME);
    keyspace.created_at = BUILTIN_CREATED_AT;
    keyspace.changed_at = BUILTIN_CREATED_AT;
    keyspace.id = keyspace_id(keyspace.name, keyspace.created_at);
    return keyspace;
}

static bool level_valid(enum consistency level)
{
    return level > CONSISTENCY_DEFAULT && level <= CONSISTENCY_COUNT;
}

static bool count_valid(enum consistency level, uint8_t count)
{
    if (level == CONSISTENCY_COUNT)
        return count > 0 && count <= REPLICAS_TOTAL_MAX;
    return count == 0;
}

static const char *data_centers_why_invalid(const struct keyspace *keyspace)
{
    if (keyspace->data_center_count > DATA_CENTERS_MAX)
        return "data_centers: at most 8";
    for (uint8_t i = 0; i < keyspace->data_center_count; i++) {
        const char *name = keyspace->data_centers[i].name;
        if (name[0] == '\0' || memchr(name, '\0', DATA_CENTER_NAME_MAX + 1) == NULL)
            return "data_centers: a name must be 1 to 31 characters";
        if (i > 0 && strcmp(keyspace->data_centers[i - 1].name, name) >= 0)
            return "data_centers: must be in order of name, each once";
        if (keyspace->data_centers[i].n == 0 || keyspace->data_centers[i].n > REPLICAS_MAX)
            return "data_centers: n must be 1 to 7";
    }
    return NULL;
}

static const char *keyspace_why_invalid(const struct keyspace *keyspace)
{
    if (!keyspace_name_valid(keyspace->name))
        return "name: must be [a-z][a-z0-9_-]{0,62}";
    if (keyspace->id != keyspace_id(keyspace->name, keyspace->created_at))
        return "id: must be the hash of name and created_at";
    if (keyspace->changed_at < keyspace->created_at)
        return "changed_at: must not be before created_at";
    if (keyspace->mode > KEYSPACE_CONSISTENT)
        return "mode: must be available or consistent";
    if (keyspace->conflict > KEYSPACE_LWW)
        return "conflict: must be siblings or lww";
    if (keyspace->durability > KEYSPACE_PERIODIC)
        return "durability: must be fsync or periodic";
    if (keyspace->n == 0 || keyspace->n > REPLICAS_MAX)
        return "n: must be 1 to 7";
    if (!level_valid(keyspace->read_level))
        return "read_level: must be a level other than DEFAULT";
    if (!level_valid(keyspace->write_level))
        return "write_level: must be a level other than DEFAULT";
    if (!count_valid(keyspace->read_level, keyspace->read_count))
        return "read_count: must be 1 to 56 with level COUNT, else 0";
    if (!count_valid(keyspace->write_level, keyspace->write_count))
        return "write_count: must be 1 to 56 with level COUNT, else 0";
    return data_centers_why_invalid(keyspace);
}

enum err keyspace_validate(const struct keyspace *keyspace, const char **ret_why)
{
    const char *why = keyspace_why_invalid(keyspace);
    if (why == NULL)
        return OK;
    *ret_why = why;
    return ERR_INVALID;
}

uint32_t keyspace_n(const struct keyspace *keyspace, const char *data_center)
{
    for (uint8_t i = 0; i < keyspace->data_center_count; i++) {
        if (strcmp(keyspace->data_centers[i].name, data_center) == 0)
            return keyspace->data_centers[i].n;
    }
    return keyspace->n;
}

/* The place of the name, or where it would be. */
static uint32_t map_place(const struct keyspace_map *map, const char *name)
{
    uint32_t low = 0;
    uint32_t high = map->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (strcmp(map->keyspaces[middle].name, name) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

const struct keyspace *keyspace_map_find(const struct keyspace_map *map, const char *name)
{
    uint32_t place = map_place(map, name);
    if (place == map->count || strcmp(map->keyspaces[place].name, name) != 0)
        return NULL;
    return map->keyspaces[place].dropped ? NULL : &map->keyspaces[place];
}

const struct keyspace *keyspace_map_find_id(const struct keyspace_map *map, uint32_t id)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->keyspaces[i].id == id && !map->keyspaces[i].dropped)
            return &map->keyspaces[i];
    }
    return NULL;
}

bool keyspace_map_known_dropped(const struct keyspace_map *map, uint32_t id)
{
    for (uint32_t i = 0; i < map->count; i++) {
        if (map->keyspaces[i].id == id)
            return map->keyspaces[i].dropped;
    }
    return false;
}

struct keyspace_map keyspace_map_put(struct arena *arena, const struct keyspace_map *map,
                                     const struct keyspace *keyspace)
{
    uint32_t place = map_place(map, keyspace->name);
    bool replaces = place < map->count && strcmp(map->keyspaces[place].name, keyspace->name) == 0;
    uint32_t count = map->count + !replaces;
    CHECK_U64(count, <=, KEYSPACES_MAX);
    struct keyspace *keyspaces = ARENA_NEW(arena, struct keyspace, count);
    for (uint32_t i = 0; i < place; i++)
        keyspaces[i] = map->keyspaces[i];
    keyspaces[place] = *keyspace;
    for (uint32_t i = place + replaces; i < map->count; i++)
        keyspaces[i + !replaces] = map->keyspaces[i];
    return (struct keyspace_map){.count = count, .keyspaces = keyspaces};
}

/* The id follows from name and created_at, so it is not written. */
static void keyspace_encode(struct writer *writer, const struct keyspace *keyspace)
{
    writer_sized_bytes(writer, bytes_of_string(keyspace->name));
    writer_varint(writer, keyspace->created_at);
    writer_varint(writer, keyspace->changed_at);
    writer_u8(writer, (uint8_t)((keyspace->dropped ? FLAG_DROPPED : 0) |
                                (keyspace->strict ? FLAG_STRICT : 0)));
    writer_u8(writer, (uint8_t)keyspace->mode);
    writer_u8(writer, (uint8_t)keyspace->conflict);
    writer_u8(writer, (uint8_t)keyspace->durability);
    writer_u8(writer, keyspace->n);
    writer_u8(writer, (uint8_t)keyspace->read_level);
    writer_u8(writer, keyspace->read_count);
    writer_u8(writer, (uint8_t)keyspace->write_level);
    writer_u8(writer, keyspace->write_count);
    writer_u8(writer, keyspace->data_center_count);
    for (uint8_t i = 0; i < keyspace->data_center_count; i++) {
        writer_sized_bytes(writer, bytes_of_string(keyspace->data_centers[i].name));
        writer_u8(writer, keyspace->data_centers[i].n);
    }
}

/* Whether b wins over a, both of one name. */
static bool keyspace_is_newer(const struct keyspace *a, const struct keyspace *b)
{
    if (a->changed_at != b->changed_at)
        return b->changed_at > a->changed_at;
    uint8_t memory[2048];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    struct writer left;
    struct writer right;
    writer_init(&left, &arena, 512);
    writer_init(&right, &arena, 512);
    keyspace_encode(&left, a);
    keyspace_encode(&right, b);
    bool newer = bytes_compare(writer_result(&left), writer_result(&right)) < 0;
    arena_deinit(&arena);
    return newer;
}

struct keyspace_map keyspace_map_merge(struct arena *arena, const struct keyspace_map *a,
                                       const struct keyspace_map *b)
{
    struct keyspace *keyspaces = ARENA_NEW(arena, struct keyspace, a->count + b->count);
    uint32_t count = 0;
    uint32_t i = 0;
    uint32_t j = 0;
    while (count < KEYSPACES_MAX && (i < a->count || j < b->count)) {
        int order = i == a->count   ? 1
                    : j == b->count ? -1
                                    : strcmp(a->keyspaces[i].name, b->keyspaces[j].name);
        bool second = order > 0;
        if (order == 0)
            second = keyspace_is_newer(&a->keyspaces[i], &b->keyspaces[j]);
        keyspaces[count++] = second ? b->keyspaces[j] : a->keyspaces[i];
        i += order <= 0;
        j += order >= 0;
    }
    return (struct keyspace_map){.count = count, .keyspaces = keyspaces};
}

struct bytes keyspace_map_encode(struct arena *arena, const struct keyspace_map *map)
{
    struct writer writer;
    writer_init(&writer, arena, 16 + 64 * (size_t)map->count);
    writer_u8(&writer, FORMAT_VERSION);
    writer_varint(&writer, map->count);
    for (uint32_t i = 0; i < map->count; i++)
        keyspace_encode(&writer, &map->keyspaces[i]);
    return writer_result(&writer);
}

static unsigned read_choice(struct reader *reader, unsigned max)
{
    uint8_t value = reader_u8(reader);
    if (value <= max)
        return value;
    reader->failed = true;
    return 0;
}

static void keyspace_decode(struct reader *reader, struct keyspace *ret_keyspace)
{
    reader_word(reader, ret_keyspace->name, KEYSPACE_NAME_MAX);
    ret_keyspace->created_at = reader_varint(reader);
    ret_keyspace->changed_at = reader_varint(reader);
    ret_keyspace->id = keyspace_id(ret_keyspace->name, ret_keyspace->created_at);
    unsigned flags = read_choice(reader, FLAG_DROPPED | FLAG_STRICT);
    ret_keyspace->dropped = (flags & FLAG_DROPPED) != 0;
    ret_keyspace->strict = (flags & FLAG_STRICT) != 0;
    ret_keyspace->mode = (enum keyspace_mode)read_choice(reader, KEYSPACE_CONSISTENT);
    ret_keyspace->conflict = (enum keyspace_conflict)read_choice(reader, KEYSPACE_LWW);
    ret_keyspace->durability = (enum keyspace_durability)read_choice(reader, KEYSPACE_PERIODIC);
    ret_keyspace->n = reader_u8(reader);
    ret_keyspace->read_level = (enum consistency)read_choice(reader, CONSISTENCY_COUNT);
    ret_keyspace->read_count = reader_u8(reader);
    ret_keyspace->write_level = (enum consistency)read_choice(reader, CONSISTENCY_COUNT);
    ret_keyspace->write_count = reader_u8(reader);
    ret_keyspace->data_center_count = (uint8_t)read_choice(reader, DATA_CENTERS_MAX);
    for (uint8_t i = 0; i < ret_keyspace->data_center_count; i++) {
        reader_word(reader, ret_keyspace->data_centers[i].name, DATA_CENTER_NAME_MAX);
        ret_keyspace->data_centers[i].n = reader_u8(reader);
    }
}

enum err keyspace_map_decode(struct arena *arena, struct bytes bytes, struct keyspace_map *ret_map)
{
    struct reader reader = reader_of(bytes);
    if (bytes.size > 0 && reader_u8(&reader) != FORMAT_VERSION)
        return ERR_UNSUPPORTED;
    uint32_t count = (uint32_t)reader_varint_max(&reader, KEYSPACES_MAX);
    /* A definition takes more than one byte: what is left bounds the allocation. */
    if (reader.failed || count > reader_left(&reader))
        return ERR_CORRUPT;
    struct keyspace *keyspaces = ARENA_NEW(arena, struct keyspace, count);
    const char *why = NULL;
    for (uint32_t i = 0; i < count; i++) {
        keyspace_decode(&reader, &keyspaces[i]);
        if (reader.failed || keyspace_validate(&keyspaces[i], &why) != OK)
            return ERR_CORRUPT;
        if (i > 0 && strcmp(keyspaces[i - 1].name, keyspaces[i].name) >= 0)
            return ERR_CORRUPT;
    }
    if (!reader_done(&reader))
        return ERR_CORRUPT;
    *ret_map = (struct keyspace_map){.count = count, .keyspaces = keyspaces};
    return OK;
}

uint64_t keyspace_map_digest(const struct keyspace_map *map)
{
    uint8_t memory[4096];
    struct arena arena;
    arena_init(&arena, memory, sizeof memory);
    uint64_t digest = hash_bytes(keyspace_map_encode(&arena, map), 0);
    arena_deinit(&arena);
    return digest;
}
