// What stays out of the binary, of libraries that Debian builds with everything: together 0.6 MB on Debian 12 and
// 1.7 MB on 13. A member of a static archive comes in only when a symbol is wanted that nothing before it has. So each
// function here stands for the library's own of the same name and answers as a library does that was built without the
// part. No header declares most of them.
#include <openssl/opensslv.h>
#include <sqlite3.h>

#include <cstdlib>

// SQLite (src/main.c: its built-in extensions): full text search and R-trees, which no table here uses.
extern "C" {
int sqlite3Fts3Init(sqlite3* db);
int sqlite3Fts5Init(sqlite3* db);
int sqlite3RtreeInit(sqlite3* db);
int sqlite3Fts3Init(sqlite3* /*db*/) { return SQLITE_OK; }
int sqlite3Fts5Init(sqlite3* /*db*/) { return SQLITE_OK; }
int sqlite3RtreeInit(sqlite3* /*db*/) { return SQLITE_OK; }
}

// SQL's trigonometry (SQLITE_ENABLE_MATH_FUNCTIONS in Debian's SQLite), which no statement here uses and nothing else
// in the binary either: libm has each of these several times over, for processors with and without FMA, and tables
// beside.
extern "C" {
#define BRUME_LEFT_OUT(name)    \
  double name(double) noexcept; \
  double name(double) noexcept { return __builtin_nan(""); }
BRUME_LEFT_OUT(acos)
BRUME_LEFT_OUT(acosh)
BRUME_LEFT_OUT(asin)
BRUME_LEFT_OUT(asinh)
BRUME_LEFT_OUT(atan)
BRUME_LEFT_OUT(atanh)
BRUME_LEFT_OUT(cos)
BRUME_LEFT_OUT(cosh)
BRUME_LEFT_OUT(sin)
BRUME_LEFT_OUT(sinh)
BRUME_LEFT_OUT(tan)
BRUME_LEFT_OUT(tanh)
#undef BRUME_LEFT_OUT
double atan2(double, double) noexcept;
double atan2(double, double) noexcept { return __builtin_nan(""); }
}

#if OPENSSL_VERSION_NUMBER >= 0x30200000L
#include <openssl/bio.h>
#include <openssl/comp.h>

// OpenSSL 3.2 and later can compress certificates (RFC 8879) with zstd, which would bring zstd's compressor along
// (COMP_CTX_new(3)).
extern "C" {
COMP_METHOD* COMP_zstd() { return nullptr; }
COMP_METHOD* COMP_zstd_oneshot() { return nullptr; }
const BIO_METHOD* BIO_f_zstd() { return nullptr; }
void ossl_comp_zstd_cleanup();  // called when a process ends
void ossl_comp_zstd_cleanup() {}
}

#ifdef __x86_64__
// AES with the wide registers of AVX-512, unrolled to 0.7 MB (aes-gcm-avx512.pl, aesni-xts-avx512.pl). OpenSSL asks
// whether the processor is capable, and takes AES-NI when not: still gigabytes a second.
extern "C" {
int ossl_vaes_vpclmulqdq_capable();
int aesni_xts_avx512_eligible();
int ossl_vaes_vpclmulqdq_capable() { return 0; }
int aesni_xts_avx512_eligible() { return 0; }
// Never called then.
#define BRUME_LEFT_OUT(name) \
  void name();               \
  void name() { std::abort(); }
BRUME_LEFT_OUT(ossl_aes_gcm_init_avx512)
BRUME_LEFT_OUT(ossl_aes_gcm_setiv_avx512)
BRUME_LEFT_OUT(ossl_aes_gcm_update_aad_avx512)
BRUME_LEFT_OUT(ossl_aes_gcm_encrypt_avx512)
BRUME_LEFT_OUT(ossl_aes_gcm_decrypt_avx512)
BRUME_LEFT_OUT(ossl_aes_gcm_finalize_avx512)
BRUME_LEFT_OUT(ossl_gcm_gmult_avx512)
BRUME_LEFT_OUT(aesni_xts_128_encrypt_avx512)
BRUME_LEFT_OUT(aesni_xts_128_decrypt_avx512)
BRUME_LEFT_OUT(aesni_xts_256_encrypt_avx512)
BRUME_LEFT_OUT(aesni_xts_256_decrypt_avx512)
#undef BRUME_LEFT_OUT
}
#endif
#endif
