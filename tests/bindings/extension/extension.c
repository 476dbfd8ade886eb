// Does with the shipped library what a notification extension does, in a process of its own, and measures it.
//
//   extension ack LIBRARY URL CA SPOOL RECEIPT     load, open, record one ack, send it: one line of figures
//   extension record LIBRARY DIRECTORY RECEIPT N   N acks into the app's database: the slowest 1 %, in microseconds
//
// It speaks the C interface that Swift speaks (the generated header), and loads the library at run time, so that what
// the library costs can be told from what the process costs.
#define _Nonnull
#define _Nullable
#include "backstop_ffi.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// A function of the library by its declared type.
#define LOAD(name) __typeof__(&name) name##_ = (__typeof__(&name))found(library, #name)

static void *found(void *library, const char *name) {
    void *function = dlsym(library, name);
    if (!function) {
        fprintf(stderr, "%s is not in the library\n", name);
        exit(2);
    }
    return function;
}

static void check(RustCallStatus status, const char *what) {
    if (status.code != 0) {
        fprintf(stderr, "%s failed, status %d: %.*s\n", what, status.code, (int)status.errorBuf.len,
                (const char *)status.errorBuf.data);
        exit(3);
    }
}

static int64_t clock_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// A figure of /proc/self/status in KiB.
static long status_kib(const char *key) {
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    long kib = -1;
    while (file && fgets(line, sizeof line, file)) {
        if (!strncmp(line, key, strlen(key))) kib = atol(line + strlen(key) + 1);
    }
    if (file) fclose(file);
    return kib;
}

// What crosses the boundary is written as UniFFI reads it: numbers big-endian, a text behind its length.
typedef struct {
    uint8_t bytes[16384];
    size_t length;
} Buffer;

static void put(Buffer *buffer, const void *bytes, size_t length) {
    if (buffer->length + length > sizeof buffer->bytes) abort();
    memcpy(buffer->bytes + buffer->length, bytes, length);
    buffer->length += length;
}

static void put_byte(Buffer *buffer, uint8_t value) { put(buffer, &value, 1); }

static void put_i32(Buffer *buffer, uint32_t value) {
    uint8_t bytes[4] = {value >> 24, value >> 16, value >> 8, value};
    put(buffer, bytes, 4);
}

static void put_text(Buffer *buffer, const char *text) {
    put_i32(buffer, strlen(text));
    put(buffer, text, strlen(text));
}

static __typeof__(&ffi_backstop_ffi_rustbuffer_from_bytes) from_bytes;

static RustBuffer lower(const void *bytes, size_t length) {
    RustCallStatus status = {0};
    RustBuffer lowered = from_bytes((ForeignBytes){.len = (int32_t)length, .data = bytes}, &status);
    check(status, "a buffer");
    return lowered;
}

static RustBuffer none(void) { return lower("\0", 1); }

// `received`, the second of the grades.
static RustBuffer received(void) { return lower("\0\0\0\2", 4); }

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t woken = PTHREAD_COND_INITIALIZER;
static int polled;

static void continuation(uint64_t data, int8_t result) {
    (void)data;
    pthread_mutex_lock(&lock);
    polled = result == 0 ? 1 : 2; // ready, or to be polled again
    pthread_cond_signal(&woken);
    pthread_mutex_unlock(&lock);
}

// Waits for a call's answer, and returns the case of `Acked`: 1 = confirmed, 2 = stored.
static int acked(void *library, uint64_t future) {
    LOAD(ffi_backstop_ffi_rust_future_poll_rust_buffer);
    LOAD(ffi_backstop_ffi_rust_future_complete_rust_buffer);
    LOAD(ffi_backstop_ffi_rust_future_free_rust_buffer);
    LOAD(ffi_backstop_ffi_rustbuffer_free);
    for (int ready = 0; !ready;) {
        polled = 0;
        ffi_backstop_ffi_rust_future_poll_rust_buffer_(future, continuation, 0);
        pthread_mutex_lock(&lock);
        while (!polled) pthread_cond_wait(&woken, &lock);
        ready = polled == 1;
        pthread_mutex_unlock(&lock);
    }
    RustCallStatus status = {0};
    RustBuffer answer = ffi_backstop_ffi_rust_future_complete_rust_buffer_(future, &status);
    check(status, "the call");
    int kind = answer.len >= 4 ? answer.data[3] : -1;
    ffi_backstop_ffi_rustbuffer_free_(answer, &status);
    ffi_backstop_ffi_rust_future_free_rust_buffer_(future);
    return kind;
}

static void *opened(const char *path) {
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    LOAD(ffi_backstop_ffi_rustbuffer_from_bytes);
    from_bytes = ffi_backstop_ffi_rustbuffer_from_bytes_;
    return library;
}

static void put_certificate(Buffer *buffer, const char *path) {
    char pem[8192];
    FILE *file = fopen(path, "r");
    if (!file) {
        perror(path);
        exit(2);
    }
    size_t length = fread(pem, 1, sizeof pem, file);
    fclose(file);
    put_i32(buffer, 1);
    put_i32(buffer, length);
    put(buffer, pem, length);
}

static int ack(const char *path, const char *url, const char *authority, const char *spool, const char *receipt) {
    Buffer config = {.length = 0};
    put_text(&config, url);
    put_text(&config, "app_measure");
    put_text(&config, "ios/0.1.0");
    put_text(&config, spool);
    put_byte(&config, 1);
    put_text(&config, "dev_measure");
    put_text(&config, "key");
    put_certificate(&config, authority);
    put_byte(&config, 0);

    long before_kib = status_kib("VmRSS:");
    int64_t began = clock_us(CLOCK_MONOTONIC), cpu_began = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    void *library = opened(path);
    LOAD(uniffi_backstop_ffi_fn_constructor_extension_open);
    LOAD(uniffi_backstop_ffi_fn_clone_extension);
    LOAD(uniffi_backstop_ffi_fn_method_extension_record);
    LOAD(uniffi_backstop_ffi_fn_method_extension_send);
    RustCallStatus status = {0};
    uint64_t extension =
        uniffi_backstop_ffi_fn_constructor_extension_open_(lower(config.bytes, config.length), &status);
    check(status, "open");
    int64_t ready = clock_us(CLOCK_MONOTONIC);
    uint64_t again = uniffi_backstop_ffi_fn_clone_extension_(extension, &status);
    uint64_t spooled = uniffi_backstop_ffi_fn_method_extension_record_(
        again, lower(receipt, strlen(receipt)), received(), none(), &status);
    check(status, "record");
    int64_t recorded = clock_us(CLOCK_MONOTONIC);
    uint64_t future = uniffi_backstop_ffi_fn_method_extension_send_(extension, spooled, 5000, none());
    int kind = acked(library, future);
    int64_t sent = clock_us(CLOCK_MONOTONIC);
    printf("load_us=%ld record_us=%ld send_us=%ld cpu_us=%ld resident_kib=%ld peak_kib=%ld\n", (long)(ready - began),
           (long)(recorded - ready), (long)(sent - recorded),
           (long)(clock_us(CLOCK_PROCESS_CPUTIME_ID) - cpu_began), status_kib("VmRSS:") - before_kib,
           status_kib("VmHWM:") - before_kib);
    if (kind != 1) fprintf(stderr, "the server did not confirm the ack\n");
    return kind == 1 ? 0 : 4;
}

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static int record(const char *path, const char *directory, const char *receipt, int count) {
    Buffer config = {.length = 0};
    put_text(&config, "http://127.0.0.1:9");
    put_text(&config, "app_measure");
    put_i32(&config, 2); // Android
    put_text(&config, "android/0.1.0");
    put_byte(&config, 1);
    put_text(&config, directory);
    put_byte(&config, 0);
    put_byte(&config, 0);
    put_i32(&config, 0);
    put_byte(&config, 0);

    void *library = opened(path);
    LOAD(uniffi_backstop_ffi_fn_constructor_client_open);
    LOAD(uniffi_backstop_ffi_fn_clone_client);
    LOAD(uniffi_backstop_ffi_fn_method_client_acknowledge);
    RustCallStatus status = {0};
    uint64_t client = uniffi_backstop_ffi_fn_constructor_client_open_(lower(config.bytes, config.length), &status);
    check(status, "open");
    int64_t *took = calloc(count, sizeof *took);
    char *text = strdup(receipt);
    size_t length = strlen(text);
    for (int i = 0; took && text && i < count; i++) {
        // Another receipt each time: four characters of base64url in the middle of it.
        const char *digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        text[length / 2] = digits[i & 63];
        text[length / 2 + 1] = digits[i >> 6 & 63];
        int64_t began = clock_us(CLOCK_MONOTONIC);
        uint64_t again = uniffi_backstop_ffi_fn_clone_client_(client, &status);
        uint64_t future = uniffi_backstop_ffi_fn_method_client_acknowledge_(
            again, lower(text, length), received(), none(), 0, none());
        if (acked(library, future) != 2) {
            fprintf(stderr, "the ack was not stored\n");
            return 4;
        }
        took[i] = clock_us(CLOCK_MONOTONIC) - began;
    }
    qsort(took, count, sizeof *took, by_value);
    printf("record_us: median=%ld p99=%ld slowest=%ld\n", (long)took[count / 2], (long)took[count * 99 / 100],
           (long)took[count - 1]);
    return 0;
}

int main(int count, char **words) {
    if (count == 7 && !strcmp(words[1], "ack")) return ack(words[2], words[3], words[4], words[5], words[6]);
    if (count == 6 && !strcmp(words[1], "record")) return record(words[2], words[3], words[4], atoi(words[5]));
    fprintf(stderr, "usage: extension ack LIBRARY URL CA SPOOL RECEIPT | record LIBRARY DIRECTORY RECEIPT N\n");
    return 2;
}
