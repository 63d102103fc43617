// OpenSSL 3.2 and later can compress certificates (RFC 8879) with zstd, which would bring zstd's compressor, 0.4 MB
// that nothing else needs, into the binary. Defined here, the functions of OpenSSL's c_zstd.o keep it out: they answer
// as an OpenSSL does that was built without zstd (COMP_CTX_new(3)). Debian 12's OpenSSL is older and has none of them.

#include <openssl/opensslv.h>

#if OPENSSL_VERSION_NUMBER >= 0x30200000L
#include <openssl/bio.h>
#include <openssl/comp.h>

extern "C" {
COMP_METHOD* COMP_zstd() { return nullptr; }
COMP_METHOD* COMP_zstd_oneshot() { return nullptr; }
const BIO_METHOD* BIO_f_zstd() { return nullptr; }
void ossl_comp_zstd_cleanup();  // OpenSSL's own, called when a process ends: no header declares it.
void ossl_comp_zstd_cleanup() {}
}
#endif
