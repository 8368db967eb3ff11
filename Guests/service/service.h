#pragma once

// Serves on one thread, so that all requests have one total order.
_Noreturn void serve_for_ever(void);
