// A service over two SQLite databases. Usage: sqlite-service FOLDER PORT
//
// Every line of a TCP connection is answered by one line:
//   NUMBER   stores the number in both databases, each in a transaction of its own with synchronous=FULL, then answers NUMBER
//   check    answers, for the database with a rollback journal and the one with a write-ahead log: rows, sum of the numbers, and what
//            PRAGMA integrity_check says
// An error is answered by "error: ...".

#include <arpa/inet.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DATABASES = 2 };
static const char *const modes[DATABASES] = {"DELETE", "WAL"};
static sqlite3 *databases[DATABASES];

static _Noreturn void fail(const char *what, const char *why) {
    fprintf(stderr, "sqlite-service: %s: %s\n", what, why);
    exit(1);
}

static void open_databases(const char *folder) {
    for (int i = 0; i < DATABASES; i++) {
        char path[256], setup[256];
        snprintf(path, sizeof path, "%s/%s.sqlite", folder, modes[i]);
        snprintf(setup, sizeof setup,
                 "PRAGMA journal_mode=%s; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS numbers (number INTEGER PRIMARY KEY, "
                 "filling BLOB);",
                 modes[i]);
        if (sqlite3_open(path, &databases[i]) || sqlite3_busy_timeout(databases[i], 60000) ||
            sqlite3_exec(databases[i], setup, NULL, NULL, NULL))
            fail(path, sqlite3_errmsg(databases[i]));
    }
}

// Stores the number in every database; NULL, or what went wrong.
static const char *store(long long number) {
    for (int i = 0; i < DATABASES; i++) {
        char statement[128];
        snprintf(statement, sizeof statement, "INSERT INTO numbers VALUES (%lld, randomblob(%lld));", number, 100 + number % 900);
        if (sqlite3_exec(databases[i], statement, NULL, NULL, NULL)) return sqlite3_errmsg(databases[i]);
    }
    return NULL;
}

static int print_row(void *to, int columns, char **values, char **names) {
    (void)names;
    for (int i = 0; i < columns; i++) fprintf(to, " %s", values[i] ? values[i] : "NULL");
    return 0;
}

static void check(FILE *to) {
    static const char query[] = "SELECT count(*), coalesce(sum(number), 0) FROM numbers; PRAGMA integrity_check;";
    for (int i = 0; i < DATABASES; i++) {
        fprintf(to, "%s%s", i ? " " : "", modes[i]);
        if (sqlite3_exec(databases[i], query, print_row, to, NULL)) fprintf(to, " error: %s", sqlite3_errmsg(databases[i]));
    }
    fputc('\n', to);
}

static _Noreturn void serve(int connection) {
    FILE *in = fdopen(connection, "r"), *out = fdopen(dup(connection), "w");
    char line[64];
    while (in && out && fgets(line, sizeof line, in)) {
        if (!strcmp(line, "check\n")) {
            check(out);
        } else {
            long long number = atoll(line);
            const char *error = store(number);
            if (error) fprintf(out, "error: %s\n", error);
            else fprintf(out, "%lld\n", number);
        }
        fflush(out);
    }
    _exit(0);
}

int main(int count, char **arguments) {
    if (count != 3) fail("usage", "sqlite-service FOLDER PORT");
    signal(SIGCHLD, SIG_IGN);
    // The files are made here, by one process; every connection's process opens them for itself.
    open_databases(arguments[1]);
    for (int i = 0; i < DATABASES; i++) sqlite3_close(databases[i]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(arguments[2]))};
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4)) fail("listen", "the port is taken");
    for (;;) {
        int connection = accept(listener, NULL, NULL);
        if (connection >= 0 && fork() == 0) {
            open_databases(arguments[1]);
            serve(connection);
        }
        if (connection >= 0) close(connection);
    }
}
