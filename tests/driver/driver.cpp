// A CUDA driver in the host's memory, for tests: work is done as late as the order of streams allows.
//
// A real device may run what a stream was given at once or much later. This one waits until somebody asks for it, so what
// reads memory too early, or changes it too late, finds wrong values here. Memory that was given back holds ones until the
// same stream asks for as much, and work that touches it is a fault. Kernels are a function of the test's (played_kernels), which is told which kernel it is.

#include <cuda.h>
#include <dlfcn.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace {

struct Queue;

// All that a queue was given before its `count`-th action.
struct Point {
    Queue *queue;
    size_t count;
};

struct Action {
    std::function<void()> run;
    std::vector<Point> after;
};

using Captured = std::vector<std::function<void()>>;

struct Queue {
    bool blocking = false;  // ordered with the default stream
    std::deque<Action> waiting;
    size_t given = 0, done = 0;
    Captured *capture = nullptr;
    std::multimap<size_t, CUdeviceptr> pool;  // size -> memory that was given back in the order of this queue
};

struct Event {
    Point point{nullptr, 0};
};

struct Memory {
    size_t size;
    bool is_there, is_pinned;
};

struct Library;

struct Kernel {
    std::string name;
    Library *library;
};

struct Library {
    int number, pointers;
    bool is_there = true;
    std::deque<Kernel> kernels;
};

std::recursive_mutex lock;
using Locked = std::lock_guard<std::recursive_mutex>;

std::deque<Queue> queues;
std::map<CUdeviceptr, Memory> memories;
std::string faults;
size_t capacity = size_t(1) << 30, allocated = 0;
void (*run_kernel)(int, const char *, const CUdeviceptr *, int, unsigned) = nullptr;
thread_local CUcontext current = nullptr;
const CUcontext CONTEXT = reinterpret_cast<CUcontext>(0x10);
const CUmemoryPool POOL = reinterpret_cast<CUmemoryPool>(0x20);

void fault(const char *text, ...) {
    char line[256];
    va_list values;
    va_start(values, text);
    vsnprintf(line, sizeof line, text, values);
    va_end(values);
    faults += std::string(line) + "\n";
}

// -- queues ----------------------------------------------------------------------------------------------------

Queue &default_queue() {
    if (queues.empty()) queues.emplace_back().blocking = true;
    return queues.front();
}

Queue &queue_of(CUstream stream) {
    if (stream == nullptr || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD) return default_queue();
    return *reinterpret_cast<Queue *>(stream);
}

void finish(Queue &queue, size_t count) {
    while (queue.done < count) {
        Action action = queue.waiting.front();
        for (Point &point : action.after) finish(*point.queue, point.count);
        if (action.run) action.run();
        queue.waiting.pop_front();
        queue.done++;
    }
}

void give(Queue &queue, std::function<void()> run, std::vector<Point> after = {}) {
    if (queue.capture) {
        queue.capture->push_back(run);
        return;
    }
    if (&queue == &default_queue()) {
        for (Queue &other : queues)
            if (other.blocking && &other != &queue) after.push_back({&other, other.given});
    } else if (queue.blocking) {
        after.push_back({&default_queue(), default_queue().given});
    }
    queue.waiting.push_back({run, after});
    queue.given++;
}

// -- memory ----------------------------------------------------------------------------------------------------

Memory *memory_at(CUdeviceptr address, size_t size) {
    auto found = memories.upper_bound(address);
    if (found == memories.begin()) return nullptr;
    --found;
    return address + size <= found->first + found->second.size ? &found->second : nullptr;
}

void touch(const char *who, CUdeviceptr address, size_t size) {
    Memory *memory = memory_at(address, size);
    if (!memory) fault("%s touches %zu bytes at %llx, which nobody has allocated", who, size, address);
    else if (!memory->is_there) fault("%s touches memory at %llx before or after its time", who, address);
}

CUresult allocate(CUdeviceptr *address, size_t size, bool is_pinned = false) {
    if (!is_pinned && allocated + size > capacity) return CUDA_ERROR_OUT_OF_MEMORY;
    size_t whole = (size + 511) / 256 * 256;
    void *made = aligned_alloc(256, whole);
    memset(made, 0xFF, whole);
    *address = reinterpret_cast<CUdeviceptr>(made);
    memories[*address] = {size, is_pinned, is_pinned};
    return CUDA_SUCCESS;
}

void release(CUdeviceptr address) {
    Memory &memory = memories[address];
    if (!memory.is_there) fault("memory at %llx is given back twice", address);
    memory.is_there = false;
    memset(reinterpret_cast<void *>(address), 0xFF, memory.size);
    if (!memory.is_pinned) allocated -= memory.size;
}

void *host(CUdeviceptr address) { return reinterpret_cast<void *>(address); }

}  // namespace

#define SHOWN extern "C" __attribute__((visibility("default")))
#define API SHOWN CUresult

// -- what the test asks ------------------------------------------------------------------------------------------

SHOWN void played_kernels(decltype(run_kernel) function) {
    run_kernel = function;
}

SHOWN void played_capacity(size_t bytes) { capacity = bytes; }

SHOWN size_t played_bytes() { return allocated; }

SHOWN const char *played_faults() {
    static std::string shown;
    Locked held(lock);
    shown = faults;
    faults.clear();
    return shown.c_str();
}

// -- devices and contexts ------------------------------------------------------------------------------------------

API cuInit(unsigned) { return CUDA_SUCCESS; }
API cuDriverGetVersion(int *version) { return *version = 13000, CUDA_SUCCESS; }
API cuDeviceGetCount(int *count) { return *count = 1, CUDA_SUCCESS; }
API cuDeviceGet(CUdevice *device, int) { return *device = 0, CUDA_SUCCESS; }
API cuDeviceGetName(char *name, int size, CUdevice) { return snprintf(name, size, "a driver of the tests"), CUDA_SUCCESS; }
API cuDeviceGetUuid_v2(CUuuid *uuid, CUdevice) { return memset(uuid, 7, sizeof *uuid), CUDA_SUCCESS; }

API cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 9; break;
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: *value = 0; break;
        case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: *value = 132; break;
        case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
        case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED: *value = 1; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice) { return *context = CONTEXT, CUDA_SUCCESS; }
API cuDevicePrimaryCtxRelease_v2(CUdevice) { return CUDA_SUCCESS; }
API cuCtxSetCurrent(CUcontext context) { return current = context, CUDA_SUCCESS; }
API cuCtxGetCurrent(CUcontext *context) { return *context = current, CUDA_SUCCESS; }
API cuCtxPushCurrent_v2(CUcontext context) { return current = context, CUDA_SUCCESS; }
API cuCtxPopCurrent_v2(CUcontext *context) { return *context = current, current = nullptr, CUDA_SUCCESS; }
API cuCtxGetDevice(CUdevice *device) { return *device = 0, current ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT; }
API cuCtxGetDevice_v2(CUdevice *device, CUcontext) { return *device = 0, CUDA_SUCCESS; }

API cuCtxSynchronize() {
    Locked held(lock);
    for (Queue &queue : queues) finish(queue, queue.given);
    return CUDA_SUCCESS;
}

API cuCtxGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, CUDA_SUCCESS; }

// -- streams and events ----------------------------------------------------------------------------------------------

API cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) {
    Locked held(lock);
    if (!current) return CUDA_ERROR_INVALID_CONTEXT;
    default_queue();
    queues.emplace_back().blocking = !(flags & CU_STREAM_NON_BLOCKING);
    *stream = reinterpret_cast<CUstream>(&queues.back());
    return CUDA_SUCCESS;
}

API cuStreamDestroy_v2(CUstream) { return CUDA_SUCCESS; }  // what it was given goes on
API cuStreamGetFlags(CUstream stream, unsigned *flags) {
    return *flags = queue_of(stream).blocking ? CU_STREAM_DEFAULT : CU_STREAM_NON_BLOCKING, CUDA_SUCCESS;
}
API cuStreamGetPriority(CUstream, int *priority) { return *priority = 0, CUDA_SUCCESS; }
API cuStreamGetCtx(CUstream, CUcontext *context) { return *context = CONTEXT, CUDA_SUCCESS; }

API cuStreamSynchronize(CUstream stream) {
    Locked held(lock);
    Queue &queue = queue_of(stream);
    if (queue.capture) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    give(queue, nullptr);
    finish(queue, queue.given);
    return CUDA_SUCCESS;
}

API cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    Locked held(lock);
    Point point = reinterpret_cast<Event *>(event)->point;
    if (point.queue) give(queue_of(stream), nullptr, {point});
    return CUDA_SUCCESS;
}

API cuEventCreate(CUevent *event, unsigned) { return *event = reinterpret_cast<CUevent>(new Event), CUDA_SUCCESS; }
API cuEventDestroy_v2(CUevent event) { return delete reinterpret_cast<Event *>(event), CUDA_SUCCESS; }

API cuEventRecord(CUevent event, CUstream stream) {
    Locked held(lock);
    Queue &queue = queue_of(stream);
    give(queue, nullptr);
    reinterpret_cast<Event *>(event)->point = {&queue, queue.given};
    return CUDA_SUCCESS;
}

API cuEventSynchronize(CUevent event) {
    Locked held(lock);
    Point point = reinterpret_cast<Event *>(event)->point;
    if (point.queue) finish(*point.queue, point.count);
    return CUDA_SUCCESS;
}

// -- memory ----------------------------------------------------------------------------------------------------------

API cuDeviceGetMemPool(CUmemoryPool *pool, CUdevice) { return *pool = POOL, CUDA_SUCCESS; }
API cuDeviceGetDefaultMemPool(CUmemoryPool *pool, CUdevice) { return *pool = POOL, CUDA_SUCCESS; }
API cuMemPoolSetAttribute(CUmemoryPool, CUmemPool_attribute, void *) { return CUDA_SUCCESS; }
API cuMemPoolGetAttribute(CUmemoryPool, CUmemPool_attribute, void *value) {
    return *static_cast<cuuint64_t *>(value) = 0, CUDA_SUCCESS;
}

API cuMemAllocFromPoolAsync(CUdeviceptr *address, size_t size, CUmemoryPool, CUstream stream) {
    Locked held(lock);
    Queue &queue = queue_of(stream);
    CUresult status = CUDA_SUCCESS;
    auto kept = queue.pool.find(size);
    if (kept != queue.pool.end()) {
        *address = kept->second;
        queue.pool.erase(kept);
    } else {
        status = allocate(address, size);
    }
    CUdeviceptr made = *address;
    if (status == CUDA_SUCCESS)
        give(queue, [made] {
            memories[made].is_there = true;
            allocated += memories[made].size;
        });
    return status;
}

API cuMemFreeAsync(CUdeviceptr address, CUstream stream) {
    Locked held(lock);
    Queue &queue = queue_of(stream);
    queue.pool.insert({memories[address].size, address});
    give(queue, [address] { release(address); });
    return CUDA_SUCCESS;
}

API cuMemAllocHost_v2(void **address, size_t size) {
    Locked held(lock);
    CUdeviceptr made;
    allocate(&made, size, true);
    *address = host(made);
    return CUDA_SUCCESS;
}

API cuMemFreeHost(void *address) {
    Locked held(lock);
    release(reinterpret_cast<CUdeviceptr>(address));
    return CUDA_SUCCESS;
}

API cuMemcpyHtoDAsync_v2(CUdeviceptr target, const void *source, size_t size, CUstream stream) {
    Locked held(lock);
    CUdeviceptr from = reinterpret_cast<CUdeviceptr>(source);
    if (memory_at(from, size)) {
        give(queue_of(stream), [=] {
            touch("an upload", from, size);
            touch("an upload", target, size);
            memcpy(host(target), source, size);
        });
        return CUDA_SUCCESS;
    }
    // Memory that is not pinned has been read when the driver returns.
    std::string staged(static_cast<const char *>(source), size);
    give(queue_of(stream), [=] {
        touch("an upload", target, size);
        memcpy(host(target), staged.data(), size);
    });
    return CUDA_SUCCESS;
}

API cuMemcpyDtoHAsync_v2(void *target, CUdeviceptr source, size_t size, CUstream stream) {
    Locked held(lock);
    Queue &queue = queue_of(stream);
    bool is_pinned = memory_at(reinterpret_cast<CUdeviceptr>(target), size);
    give(queue, [=] {
        if (is_pinned) touch("a download", reinterpret_cast<CUdeviceptr>(target), size);
        touch("a download", source, size);
        memcpy(target, host(source), size);
    });
    if (!is_pinned) finish(queue, queue.given);
    return CUDA_SUCCESS;
}

API cuMemcpyDtoDAsync_v2(CUdeviceptr target, CUdeviceptr source, size_t size, CUstream stream) {
    Locked held(lock);
    give(queue_of(stream), [=] {
        touch("a copy", source, size);
        touch("a copy", target, size);
        memcpy(host(target), host(source), size);
    });
    return CUDA_SUCCESS;
}

API cuPointerGetAttributes(unsigned count, CUpointer_attribute *attributes, void **data, CUdeviceptr address) {
    Locked held(lock);
    Memory *memory = memory_at(address, 1);
    for (unsigned n = 0; n < count; n++) {
        switch (attributes[n]) {
            case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
                *static_cast<unsigned *>(data[n]) =
                    !memory ? 0 : memory->is_pinned ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE;
                break;
            case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL: *static_cast<int *>(data[n]) = memory ? 0 : -2; break;
            case CU_POINTER_ATTRIBUTE_IS_MANAGED: *static_cast<int *>(data[n]) = 0; break;
            default: return CUDA_ERROR_NOT_SUPPORTED;
        }
    }
    return CUDA_SUCCESS;
}

// -- kernels ---------------------------------------------------------------------------------------------------------

// In the place of a cubin: "kernel NUMBER POINTERS".
API cuLibraryLoadData(CUlibrary *library, const void *code, CUjit_option *, void **, unsigned, CUlibraryOption *, void **,
                      unsigned) {
    auto *made = new Library;
    if (sscanf(static_cast<const char *>(code), "kernel %d %d", &made->number, &made->pointers) != 2)
        return CUDA_ERROR_INVALID_IMAGE;
    *library = reinterpret_cast<CUlibrary>(made);
    return CUDA_SUCCESS;
}

API cuLibraryUnload(CUlibrary library) {
    Locked held(lock);
    return reinterpret_cast<Library *>(library)->is_there = false, CUDA_SUCCESS;
}

API cuLibraryGetKernel(CUkernel *kernel, CUlibrary library, const char *name) {
    Locked held(lock);
    auto *found = reinterpret_cast<Library *>(library);
    found->kernels.push_back({name, found});
    *kernel = reinterpret_cast<CUkernel>(&found->kernels.back());
    return CUDA_SUCCESS;
}

API cuKernelSetAttribute(CUfunction_attribute attribute, int value, CUkernel, CUdevice) {
    bool is_known = attribute == CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES && value <= 227 * 1024;
    return is_known ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuLaunchKernelEx(const CUlaunchConfig *config, CUfunction function, void **parameters, void **) {
    Locked held(lock);
    if (!config->gridDimX || config->gridDimY > 65535 || config->gridDimZ > 65535 || config->blockDimX > 1024)
        return CUDA_ERROR_INVALID_VALUE;
    auto *kernel = reinterpret_cast<Kernel *>(function);
    int count = kernel->library->pointers;
    std::vector<CUdeviceptr> pointers;
    for (int n = 0; n < count; n++) pointers.push_back(*static_cast<CUdeviceptr *>(parameters[n]));
    unsigned rows = *static_cast<unsigned *>(parameters[count]);
    give(queue_of(config->hStream), [=] {
        if (!kernel->library->is_there) fault("%s runs after it was unloaded", kernel->name.c_str());
        for (CUdeviceptr pointer : pointers) touch(kernel->name.c_str(), pointer, 0);
        run_kernel(kernel->library->number, kernel->name.c_str(), pointers.data(), count, rows);
    });
    return CUDA_SUCCESS;
}

// -- graphs ----------------------------------------------------------------------------------------------------------

API cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
    return queue_of(stream).capture = new Captured, CUDA_SUCCESS;
}

API cuStreamEndCapture(CUstream stream, CUgraph *graph) {
    Queue &queue = queue_of(stream);
    *graph = reinterpret_cast<CUgraph>(queue.capture);
    queue.capture = nullptr;
    return CUDA_SUCCESS;
}

API cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) {
    *status = queue_of(stream).capture ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_NONE;
    return CUDA_SUCCESS;
}

API cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                              const CUgraphNode **nodes, const CUgraphEdgeData **edges, size_t *count) {
    cuStreamIsCapturing(stream, status);
    if (id) *id = 1;
    if (graph) *graph = reinterpret_cast<CUgraph>(queue_of(stream).capture);
    if (nodes) *nodes = nullptr;
    if (edges) *edges = nullptr;
    if (count) *count = 0;
    return CUDA_SUCCESS;
}

API cuGraphInstantiateWithParams(CUgraphExec *exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS *parameters) {
    *exec = reinterpret_cast<CUgraphExec>(new Captured(*reinterpret_cast<Captured *>(graph)));
    parameters->result_out = CUDA_GRAPH_INSTANTIATE_SUCCESS;
    return CUDA_SUCCESS;
}

API cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long) {
    CUDA_GRAPH_INSTANTIATE_PARAMS parameters;
    return cuGraphInstantiateWithParams(exec, graph, &parameters);
}

API cuGraphClone(CUgraph *clone, CUgraph graph) {
    *clone = reinterpret_cast<CUgraph>(new Captured(*reinterpret_cast<Captured *>(graph)));
    return CUDA_SUCCESS;
}

// What graphs keep is kept for good.
API cuUserObjectCreate(CUuserObject *object, void *, CUhostFn, unsigned, unsigned) { return *object = nullptr, CUDA_SUCCESS; }
API cuUserObjectRelease(CUuserObject, unsigned) { return CUDA_SUCCESS; }
API cuGraphRetainUserObject(CUgraph, CUuserObject, unsigned, unsigned) { return CUDA_SUCCESS; }
API cuGraphReleaseUserObject(CUgraph, CUuserObject, unsigned) { return CUDA_SUCCESS; }

API cuGraphUpload(CUgraphExec, CUstream) { return CUDA_SUCCESS; }
API cuGraphDestroy(CUgraph graph) { return delete reinterpret_cast<Captured *>(graph), CUDA_SUCCESS; }

API cuGraphLaunch(CUgraphExec exec, CUstream stream) {
    Locked held(lock);
    Captured nodes = *reinterpret_cast<Captured *>(exec);
    give(queue_of(stream), [nodes] {
        for (auto &node : nodes) node();
    });
    return CUDA_SUCCESS;
}

API cuGraphExecDestroy(CUgraphExec exec) { return delete reinterpret_cast<Captured *>(exec), CUDA_SUCCESS; }

// -- errors, and where everything is -----------------------------------------------------------------------------------

API cuGetErrorName(CUresult error, const char **name) {
    *name = error == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_TESTS";
    return CUDA_SUCCESS;
}

API cuGetErrorString(CUresult, const char **text) { return *text = "see the name", CUDA_SUCCESS; }

API cuGetProcAddress_v2(const char *name, void **function, int, cuuint64_t, CUdriverProcAddressQueryResult *result) {
    void *self = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
    *function = nullptr;
    for (const char *version : {"_v3", "_v2", "WithFlags", ""})
        if (!*function) *function = dlsym(self, (std::string(name) + version).c_str());
    if (result) *result = *function ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return *function ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}
