/* output.h -- tables, JSON and files for the commands. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "cli/cli.h"
#include "coterie/v1/key_value.pb-c.h"

#include <jansson.h>

#define TABLE_COLUMNS_MAX 10u

/* Cells are borrowed until the table is printed. */
struct table {
    struct arena *arena;
    uint32_t columns;
    uint32_t rows, capacity;
    const char *(*cells)[TABLE_COLUMNS_MAX];
};

/* `titles` is NULL-ended. */
void table_init(struct table *table, struct arena *arena, const char *const *titles);
/* As many cells as titles. */
void table_row(struct table *table, const char *const *cells);
void table_print(const struct table *table);

/* Prints and drops `value`. */
void output_json(json_t *value);
/* Sets `name`, or name_base64 where the bytes are not UTF-8. */
void output_json_bytes(json_t *object, const char *name, struct bytes bytes, struct arena *arena);
json_t *output_json_names(char *const *names, size_t count);
json_t *output_json_acknowledgement(const Coterie__V1__Acknowledgement *ack);
/* On stderr: `what` ("written") by how many, and by whom. */
void output_acknowledgement(struct cli *cli, const char *what,
                            const Coterie__V1__Acknowledgement *ack);
/* "n1, n2" */
const char *output_names(struct arena *arena, char *const *names, size_t count);
/* 2026-11-22 10:15:34.123 UTC */
const char *output_time(struct arena *arena, uint64_t time_ms);
/* 90 s, 12 min, 5 h, 3 d */
const char *output_age(struct arena *arena, uint64_t ms);
const char *output_level(int consistency);
/* A name for a terminal or a message: printable, cut at 64 bytes. */
const char *output_key(struct arena *arena, struct bytes key);

/* The key that the command names, by --key-base64 or as it stands. */
enum cli_exit input_key(struct cli *cli, const char *text, struct bytes *ret_key) MUST_USE;
/* The value: the second word, stdin ("-") or --file. */
enum cli_exit input_value(struct cli *cli, struct bytes *ret_value) MUST_USE;
/* --context: base64 or @FILE; empty when not given. */
enum cli_exit input_context(struct cli *cli, struct bytes *ret_context) MUST_USE;
/* --consistency, --r or --w; not both. */
enum cli_exit input_level(const struct cli *cli, enum cli_option_id explicit_id,
                          Coterie__V1__Consistency *ret_level, uint32_t *ret_replicas) MUST_USE;
enum cli_exit input_level_of(const struct cli *cli, enum cli_option_id id,
                             Coterie__V1__Consistency *ret_level) MUST_USE;
/* --keyspace, or "" for the default one. */
char *input_keyspace(const struct cli *cli);

#define PROTO_BYTES(bytes)                                                                         \
    ((ProtobufCBinaryData){.len = (bytes).size, .data = (uint8_t *)(uintptr_t)(bytes).data})
#define BYTES_OF_PROTO(binary) bytes_of((binary).data, (binary).len)

#endif
