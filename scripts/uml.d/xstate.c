// Lets User-Mode Linux 6.1 run on processors whose register state is longer than it knows (Intel's AMX).
//
// It saves and restores 2,696 bytes of a process's registers, up to AVX-512 and PKRU, and Linux since 5.14 takes only
// the whole state (`xstateregs_set`: EFAULT). Loaded with LD_PRELOAD, this fills a shorter state up with components in
// their initial condition. Nothing is lost: no process gets at AMX without a permission that User-Mode Linux cannot give.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

enum { XSTATE_BV = 512, LONGEST = 65536 };
// x87 to PKRU: the components that lie in the first 2,696 bytes.
static const uint64_t known = 0x3ff;

long ptrace(enum __ptrace_request request, ...) {
  va_list arguments;
  va_start(arguments, request);
  pid_t process = va_arg(arguments, pid_t);
  void *address = va_arg(arguments, void *);
  void *data = va_arg(arguments, void *);
  va_end(arguments);

  static long (*real)(enum __ptrace_request, ...);
  if (!real) real = (long (*)(enum __ptrace_request, ...))dlsym(RTLD_NEXT, "ptrace");
  if (request != PTRACE_SETREGSET || (uintptr_t)address != NT_X86_XSTATE)
    return real(request, process, address, data);

  // One thread does all of this in User-Mode Linux, and its stacks are too small for a whole state.
  static char state[LONGEST] __attribute__((aligned(64)));
  static size_t length;
  struct iovec whole = {state, LONGEST};
  if (!length && real(PTRACE_GETREGSET, process, address, &whole) == 0) length = whole.iov_len;
  const struct iovec *given = data;
  if (given->iov_len < XSTATE_BV + sizeof known || given->iov_len >= length)
    return real(request, process, address, data);
  memset(state, 0, length);
  memcpy(state, given->iov_base, given->iov_len);
  uint64_t present;
  memcpy(&present, state + XSTATE_BV, sizeof present);
  present &= known;
  memcpy(state + XSTATE_BV, &present, sizeof present);
  whole = (struct iovec){state, length};
  return real(request, process, address, &whole);
}
