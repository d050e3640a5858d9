#include "cli/progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_MS    100u
#define LINE_MS   5000u
#define BAR_CELLS 30

uint64_t progress_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void progress_init(struct progress *progress, const char *verb)
{
    *progress = (struct progress){.verb = verb, .is_terminal = isatty(STDERR_FILENO) != 0};
    progress->started_ms = progress->told_ms = progress_now_ms();
}

double progress_seconds(const struct progress *progress)
{
    uint64_t passed_ms = progress_now_ms() - progress->started_ms;
    return (double)(passed_ms == 0 ? 1 : passed_ms) / 1000;
}

static void print_eta(double seconds_left)
{
    unsigned long left = (unsigned long)(seconds_left + 0.5);
    fprintf(stderr, "  ETA %lu:%02lu:%02lu", left / 3600, left / 60 % 60, left % 60);
}

static bool is_time(struct progress *progress)
{
    uint64_t now_ms = progress_now_ms();
    if (now_ms - progress->told_ms < (progress->is_terminal ? BAR_MS : LINE_MS))
        return false;
    progress->told_ms = now_ms;
    return true;
}

static void print_bar(double part)
{
    int cells = (int)(part * BAR_CELLS);
    fputc('[', stderr);
    for (int i = 0; i < BAR_CELLS; i++)
        fputc(i < cells ? '#' : '.', stderr);
    fputs("] ", stderr);
}

void progress_show_text(struct progress *progress, double part, uint64_t eta_ms, const char *text)
{
    if (!is_time(progress))
        return;
    if (progress->is_terminal) {
        fputs("\r\033[K", stderr);
        progress->drawn = true;
        print_bar(part);
    }
    fprintf(stderr, "%3.0f %%  %s", 100 * part, text);
    if (eta_ms != 0)
        print_eta((double)eta_ms / 1000);
    if (!progress->is_terminal)
        fputc('\n', stderr);
    fflush(stderr);
}

void progress_show(struct progress *progress, uint64_t items, uint64_t done, uint64_t total)
{
    if (!is_time(progress))
        return;
    double seconds = progress_seconds(progress);
    double part = total == 0 ? 0 : (double)(done > total ? total : done) / (double)total;
    if (progress->is_terminal) {
        fputs("\r\033[K", stderr);
        progress->drawn = true;
    }
    if (progress->is_terminal && total > 0)
        print_bar(part);
    if (total > 0)
        fprintf(stderr, "%3.0f %%  ", 100 * part);
    fprintf(stderr, "%s %llu keys  %.0f/s", progress->verb, (unsigned long long)items,
            (double)items / seconds);
    if (part > 0)
        print_eta(seconds * (1 - part) / part);
    if (!progress->is_terminal)
        fputc('\n', stderr);
    fflush(stderr);
}

void progress_clear(struct progress *progress)
{
    if (progress->drawn)
        fputs("\r\033[K", stderr);
    progress->drawn = false;
}
