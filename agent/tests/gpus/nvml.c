/* In the place of NVIDIA's driver, where there is none: two GPUs, as much of NVML as Sund asks for, and errors on demand.
 * The library's own folder says how it behaves: `hangs` makes it hang when it is opened, and each byte of `xid` is an error
 * of the second GPU. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_FOUND = 6, TIMEOUT = 10 };

struct memory { unsigned version; unsigned long long total, reserved, free, used; };
struct utilisation { unsigned gpu, memory; };
struct event { void *device; unsigned long long type, data; unsigned instance, compute; };

static const char *const UUIDS[2] = { "GPU-00000000-0000-4000-8000-00000000000a", "GPU-00000000-0000-4000-8000-00000000000b" };
static int devices[2];
static long told;

static long asked_for(const char *name)
{
    char path[4096];
    struct stat found;
    snprintf(path, sizeof path, "%s/%s", getenv("LD_LIBRARY_PATH"), name);
    return stat(path, &found) ? -1 : (long)found.st_size;
}

static int number(const void *device)
{
    return device == &devices[1];
}

int nvmlInit_v2(void)
{
    while (asked_for("hangs") >= 0)
        pause();
    return SUCCESS;
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

int nvmlSystemGetDriverVersion(char *version, unsigned length)
{
    snprintf(version, length, "580.142");
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned *count)
{
    *count = 2;
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **device)
{
    *device = &devices[index];
    return SUCCESS;
}

int nvmlDeviceGetHandleByUUID(const char *uuid, void **device)
{
    for (int n = 0; n < 2; n++)
        if (!strcmp(uuid, UUIDS[n])) {
            *device = &devices[n];
            return SUCCESS;
        }
    return NOT_FOUND;
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned length)
{
    snprintf(uuid, length, "%s", UUIDS[number(device)]);
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned length)
{
    (void)device;
    snprintf(name, length, "NVIDIA L4");
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor)
{
    (void)device;
    *major = 8;
    *minor = 9;
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory *memory)
{
    memory->total = 24ull << 30;
    memory->used = (1ull + number(device)) << 30;
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(void *device, struct utilisation *rates)
{
    rates->gpu = 25 + 50 * number(device);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *celsius)
{
    (void)sensor;
    *celsius = 60 + number(device);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    /* The second is held down by its heat. */
    *reasons = number(device) ? 0x20 : 0;
    return SUCCESS;
}

int nvmlEventSetCreate(void **set)
{
    *set = &told;
    return SUCCESS;
}

int nvmlEventSetFree(void *set)
{
    (void)set;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(void *device, unsigned long long types, void *set)
{
    (void)device, (void)types, (void)set;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, struct event *event, unsigned milliseconds)
{
    (void)set;
    for (unsigned waited = 0;; waited += 20) {
        if (told < asked_for("xid")) {
            told++;
            *event = (struct event){ .device = &devices[1], .type = 8, .data = 79 };
            return SUCCESS;
        }
        if (waited >= milliseconds)
            return TIMEOUT;
        usleep(20000);
    }
}
