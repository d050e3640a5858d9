#include "rpc/descriptors.h"

#include "base/check.h"
#include "rpc/decode.h"

#include <stdio.h>

extern const uint8_t api_descriptors[];
extern const uint8_t api_descriptors_end[];

/* Numbers of descriptor.proto. */
enum {
    SET_FILE = 1,
    FILE_NAME = 1,
    FILE_PACKAGE = 2,
    FILE_DEPENDENCY = 3,
    FILE_MESSAGE = 4,
    FILE_ENUM = 5,
    FILE_SERVICE = 6,
    ANY_NAME = 1,
    MESSAGE_FIELD = 2,
    MESSAGE_NESTED = 3,
    MESSAGE_ENUM = 4,
    MESSAGE_ONEOF = 8,
    ENUM_VALUE = 2,
    SERVICE_METHOD = 2,
};

#define NESTING_MAX 16u

static_assert(DESCRIPTOR_FILES_MAX <= 64, "a closure is 64 bits");

/* The first field of that number, or empty. */
static struct bytes field_of(struct bytes message, uint32_t number)
{
    struct wire_field field;
    bool malformed;
    while (wire_next(&message, &field, &malformed)) {
        if (field.number == number && field.wire_type == 2)
            return field.bytes;
    }
    return bytes_of(NULL, 0);
}

static void add_services(struct descriptors *descriptors, const struct descriptor_file *file)
{
    struct bytes rest = file->bytes;
    struct wire_field field;
    bool malformed;
    while (wire_next(&rest, &field, &malformed)) {
        if (field.number != FILE_SERVICE)
            continue;
        CHECK_U64(descriptors->service_count, <, DESCRIPTOR_SERVICES_MAX);
        struct bytes name = field_of(field.bytes, ANY_NAME);
        char *full = descriptors->services[descriptors->service_count++];
        int size =
            snprintf(full, sizeof descriptors->services[0], "%.*s.%.*s", (int)file->package.size,
                     (const char *)file->package.data, (int)name.size, (const char *)name.data);
        CHECK_U64(size, <, sizeof descriptors->services[0]);
    }
}

void descriptors_init(struct descriptors *descriptors)
{
    *descriptors = (struct descriptors){0};
    struct bytes set = bytes_of(api_descriptors, (size_t)(api_descriptors_end - api_descriptors));
    struct wire_field field;
    bool malformed;
    while (wire_next(&set, &field, &malformed)) {
        if (field.number != SET_FILE || field.wire_type != 2)
            continue;
        CHECK_U64(descriptors->file_count, <, DESCRIPTOR_FILES_MAX);
        struct descriptor_file *file = &descriptors->files[descriptors->file_count++];
        file->bytes = field.bytes;
        file->name = field_of(field.bytes, FILE_NAME);
        file->package = field_of(field.bytes, FILE_PACKAGE);
        add_services(descriptors, file);
    }
    CHECK(!malformed);
    CHECK_U64(descriptors->file_count, >, 0);
}

int descriptors_find_file(const struct descriptors *descriptors, struct bytes name)
{
    for (uint32_t i = 0; i < descriptors->file_count; i++) {
        if (bytes_equal(descriptors->files[i].name, name))
            return (int)i;
    }
    return -1;
}

/* Takes "name" or "name." off the front of a path; *ret_rest is what is left. */
static bool path_begins(struct bytes path, struct bytes name, struct bytes *ret_rest)
{
    if (path.size < name.size || memcmp(path.data, name.data, name.size) != 0)
        return false;
    size_t used = name.size;
    if (used < path.size && path.data[used++] != '.')
        return false;
    *ret_rest = bytes_of(path.data + used, path.size - used);
    return true;
}

static bool holds_name(struct bytes message, uint32_t number, struct bytes name)
{
    struct wire_field field;
    bool malformed;
    while (wire_next(&message, &field, &malformed)) {
        if (field.number == number && field.wire_type == 2 &&
            bytes_equal(field_of(field.bytes, ANY_NAME), name))
            return true;
    }
    return false;
}

/* Whether `path` names the definition itself or one of its leaves (a value, a method). */
static bool leaf_matches(struct bytes definition, uint32_t leaf, struct bytes path)
{
    struct bytes rest;
    return path_begins(path, field_of(definition, ANY_NAME), &rest) &&
           (rest.size == 0 || holds_name(definition, leaf, rest));
}

static bool message_matches(struct bytes message, struct bytes path, uint32_t depth)
{
    struct bytes rest;
    if (depth == NESTING_MAX || !path_begins(path, field_of(message, ANY_NAME), &rest))
        return false;
    if (rest.size == 0 || holds_name(message, MESSAGE_FIELD, rest) ||
        holds_name(message, MESSAGE_ONEOF, rest))
        return true;
    struct wire_field field;
    bool malformed;
    while (wire_next(&message, &field, &malformed)) {
        if (field.number == MESSAGE_NESTED && message_matches(field.bytes, rest, depth + 1))
            return true;
        if (field.number == MESSAGE_ENUM && leaf_matches(field.bytes, ENUM_VALUE, rest))
            return true;
    }
    return false;
}

static bool file_matches(const struct descriptor_file *file, struct bytes symbol)
{
    struct bytes path;
    if (!path_begins(symbol, file->package, &path) || path.size == 0)
        return false;
    struct bytes rest = file->bytes;
    struct wire_field field;
    bool malformed;
    while (wire_next(&rest, &field, &malformed)) {
        if ((field.number == FILE_MESSAGE && message_matches(field.bytes, path, 0)) ||
            (field.number == FILE_ENUM && leaf_matches(field.bytes, ENUM_VALUE, path)) ||
            (field.number == FILE_SERVICE && leaf_matches(field.bytes, SERVICE_METHOD, path)))
            return true;
    }
    return false;
}

int descriptors_find_symbol(const struct descriptors *descriptors, struct bytes symbol)
{
    for (uint32_t i = 0; i < descriptors->file_count; i++) {
        if (file_matches(&descriptors->files[i], symbol))
            return (int)i;
    }
    return -1;
}

uint64_t descriptors_closure(const struct descriptors *descriptors, int file)
{
    CHECK(file >= 0 && (uint32_t)file < descriptors->file_count);
    uint64_t closure = 1ull << file;
    /* Imports come before their users, so one walk from the back sees everything. */
    for (int i = file; i >= 0; i--) {
        if ((closure & 1ull << i) == 0)
            continue;
        struct bytes rest = descriptors->files[i].bytes;
        struct wire_field field;
        bool malformed;
        while (wire_next(&rest, &field, &malformed)) {
            int import = field.number == FILE_DEPENDENCY
                             ? descriptors_find_file(descriptors, field.bytes)
                             : -1;
            if (import >= 0)
                closure |= 1ull << import;
        }
    }
    return closure;
}
