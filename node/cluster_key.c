#include "node/cluster_key.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define HOW_TO "make one with `openssl rand -base64 48` and give all nodes the same"

/* Editors and secret stores differ in whether a text ends with a newline. */
static size_t trimmed(const uint8_t *text, size_t size)
{
    while (size > 0 && isspace(text[size - 1]))
        size--;
    return size;
}

static void warn_of_readers(FILE *file, const char *path, const struct log *log)
{
    struct stat status;
    if (fstat(fileno(file), &status) == 0 && (status.st_mode & S_IROTH) != 0)
        log_write(log, LOG_WARNING, "cluster_key_exposed",
                  "path=\"%s\" mode=%04o what_now=\"chmod o-r: everybody on this machine can "
                  "read the key\"",
                  path, (unsigned)(status.st_mode & 07777));
}

static enum err read_open_file(struct arena *arena, FILE *file, const char *path,
                               struct bytes *ret_secret, char *why, size_t why_size)
{
    uint8_t *text = arena_alloc(arena, CLUSTER_KEY_BYTES_MAX + 1);
    size_t read = fread(text, 1, CLUSTER_KEY_BYTES_MAX + 1, file);
    if (ferror(file)) {
        snprintf(why, why_size, "cluster-key-file %s: %s", path, strerror(errno));
        return ERR_INVALID;
    }
    if (read > CLUSTER_KEY_BYTES_MAX) {
        snprintf(why, why_size, "cluster-key-file %s: more than %u bytes; " HOW_TO, path,
                 CLUSTER_KEY_BYTES_MAX);
        return ERR_INVALID;
    }
    size_t size = trimmed(text, read);
    if (size < CLUSTER_KEY_BYTES_MIN) {
        snprintf(why, why_size, "cluster-key-file %s: %zu bytes, at least %u; " HOW_TO, path, size,
                 CLUSTER_KEY_BYTES_MIN);
        return ERR_INVALID;
    }
    *ret_secret = bytes_of(text, size);
    return OK;
}

enum err cluster_key_read(struct arena *arena, const char *path, const struct log *log,
                          struct bytes *ret_secret, char *why, size_t why_size)
{
    if (path[0] == '\0') {
        *ret_secret = bytes_of(NULL, 0);
        return OK;
    }
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        snprintf(why, why_size, "cluster-key-file %s: %s; " HOW_TO, path, strerror(errno));
        return ERR_INVALID;
    }
    setvbuf(file, NULL, _IONBF, 0); /* no copy of the key in a buffer of stdio's */
    warn_of_readers(file, path, log);
    enum err err = read_open_file(arena, file, path, ret_secret, why, why_size);
    fclose(file);
    return err;
}
