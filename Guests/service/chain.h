#pragma once

#include "guest.h"

enum { QUERY = 16, PAGE_HEADER = 88, PAGE_RECORDS = 1024 };

void open_chain(void);

// Serves one request: the reply may leave after the next journal_commit.
void serve(const uint8_t request[REQUEST], uint8_t reply[REPLY]);

// Answers a query; returns the length of the page.
size_t chain_page(const uint8_t query[QUERY], uint8_t *out);

// Requests served.
uint64_t chain_length(void);
