#include "brume/base/x509.h"

#include <arpa/inet.h>
#include <openssl/bn.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <memory>

#include "brume/base/random.h"
#include "brume/base/strings.h"

namespace brume::x509 {
namespace {

template <auto Free>
struct Deleter {
  template <typename T>
  void operator()(T* pointer) const {
    Free(pointer);
  }
};
using Cert = std::unique_ptr<::X509, Deleter<X509_free>>;
using Bio = std::unique_ptr<BIO, Deleter<BIO_free>>;
using Names = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;

Cert read(std::string_view pem) {
  const Bio bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  return Cert(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
}

std::string text_of(const ASN1_STRING* value) {
  unsigned char* utf8 = nullptr;
  const int size = ASN1_STRING_to_UTF8(&utf8, value);
  if (size < 0) return {};
  std::string out(reinterpret_cast<char*>(utf8), static_cast<std::size_t>(size));
  OPENSSL_free(utf8);
  return out;
}

std::vector<std::string> subject_entries(const X509_NAME* name, int nid) {
  std::vector<std::string> out;
  for (int at = -1; (at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0;) {
    out.push_back(text_of(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at))));
  }
  return out;
}

bool add_entry(X509_NAME* name, int nid, const std::string& value) {
  return X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(value.data()),
                                    static_cast<int>(value.size()), -1, 0) == 1;
}

WallTime to_wall(const ASN1_TIME* time) {
  std::tm tm{};
  ASN1_TIME_to_tm(time, &tm);
  return std::chrono::system_clock::from_time_t(timegm(&tm));
}

/// RFC 5280 wants at most 20 octets and a positive number: 16 random bytes with the top bit cleared.
bool set_random_serial(::X509* cert) {
  std::string bytes = random_bytes(16);
  bytes[0] = static_cast<char>(bytes[0] & 0x7f);
  BIGNUM* number =
      BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()), nullptr);
  const bool ok = number != nullptr && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) != nullptr;
  BN_free(number);
  return ok;
}

/// Adds an extension in OpenSSL's configuration syntax; `value` is always one of our own literals.
bool add_extension(::X509* cert, ::X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, cert, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  const bool ok = extension != nullptr && X509_add_ext(cert, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  return ok;
}

/// SANs are built as structures, never as configuration text: a name with a comma must not become two names.
Status add_alternative_names(::X509* cert, const Spec& spec) {
  if (spec.dns_names.empty() && spec.ips.empty()) return {};
  const Names names(sk_GENERAL_NAME_new_null());
  for (const auto& dns : spec.dns_names) {
    ASN1_IA5STRING* value = ASN1_IA5STRING_new();
    ASN1_STRING_set(value, dns.data(), static_cast<int>(dns.size()));
    GENERAL_NAME* name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, GEN_DNS, value);
    sk_GENERAL_NAME_push(names.get(), name);
  }
  for (const auto& ip : spec.ips) {
    ASN1_OCTET_STRING* value = a2i_IPADDRESS(ip.c_str());
    if (value == nullptr) return fail(Code::kInvalid, "not an IP address: " + ip);
    GENERAL_NAME* name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, GEN_IPADD, value);
    sk_GENERAL_NAME_push(names.get(), name);
  }
  if (X509_add1_ext_i2d(cert, NID_subject_alt_name, names.get(), 0, X509V3_ADD_DEFAULT) != 1) {
    return fail(openssl_error(Code::kInternal, "adding subjectAltName"));
  }
  return {};
}

bool add_usage(::X509* cert, ::X509* issuer, Purpose purpose) {
  const bool ca = purpose == Purpose::kCa;
  const char* basic = ca ? "critical,CA:TRUE,pathlen:0" : "critical,CA:FALSE";
  const char* usage = ca ? "critical,digitalSignature,keyCertSign,cRLSign" : "critical,digitalSignature";
  bool ok = add_extension(cert, issuer, NID_basic_constraints, basic) &&
            add_extension(cert, issuer, NID_key_usage, usage) &&
            add_extension(cert, issuer, NID_subject_key_identifier, "hash");
  if (!ca) {
    ok = ok &&
         add_extension(cert, issuer, NID_ext_key_usage, purpose == Purpose::kServer ? "serverAuth" : "clientAuth") &&
         add_extension(cert, issuer, NID_authority_key_identifier, "keyid:always");
  }
  return ok;
}

std::string ip_text(const ASN1_OCTET_STRING* value) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  const int family = ASN1_STRING_length(value) == 4 ? AF_INET : AF_INET6;
  if (family == AF_INET6 && ASN1_STRING_length(value) != 16) return {};
  return inet_ntop(family, ASN1_STRING_get0_data(value), text.data(), text.size()) != nullptr ? text.data() : "";
}

void read_alternative_names(const ::X509* cert, Certificate& out) {
  const Names names(static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(cert, NID_subject_alt_name, nullptr, nullptr)));
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
    int type = 0;
    const void* value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names.get(), i), &type);
    if (type == GEN_DNS) out.dns_names.push_back(text_of(static_cast<const ASN1_STRING*>(value)));
    if (type == GEN_IPADD) out.ips.push_back(ip_text(static_cast<const ASN1_OCTET_STRING*>(value)));
  }
}

}  // namespace

Result<std::string> issue(const Spec& spec, const PublicKey& subject, std::optional<std::string_view> issuer_pem,
                          const PrivateKey& issuer_key) {
  Cert issuer;
  if (issuer_pem) {
    issuer = read(*issuer_pem);
    if (!issuer) return fail(openssl_error(Code::kInvalid, "reading the issuer's certificate"));
  }
  const Cert cert(X509_new());
  ::X509* const raw = cert.get();
  ::X509* const signer = issuer ? issuer.get() : raw;
  bool ok = raw != nullptr && X509_set_version(raw, X509_VERSION_3) == 1 && set_random_serial(raw) &&
            ASN1_TIME_set(X509_getm_notBefore(raw), std::chrono::system_clock::to_time_t(spec.not_before)) != nullptr &&
            ASN1_TIME_set(X509_getm_notAfter(raw), std::chrono::system_clock::to_time_t(spec.not_after)) != nullptr &&
            X509_set_pubkey(raw, static_cast<EVP_PKEY*>(subject.native())) == 1;
  X509_NAME* name = ok ? X509_get_subject_name(raw) : nullptr;
  for (const auto& organization : spec.organizations) ok = ok && add_entry(name, NID_organizationName, organization);
  ok = ok && add_entry(name, NID_commonName, spec.common_name) &&
       X509_set_issuer_name(raw, X509_get_subject_name(signer)) == 1 && add_usage(raw, signer, spec.purpose);
  if (!ok) return fail(openssl_error(Code::kInternal, "building the certificate of " + spec.common_name));
  BRUME_CHECK(add_alternative_names(raw, spec));
  if (X509_sign(raw, static_cast<EVP_PKEY*>(issuer_key.native()), EVP_sha256()) == 0) {
    return fail(openssl_error(Code::kInternal, "signing the certificate of " + spec.common_name));
  }
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), raw) != 1) return fail(openssl_error(Code::kInternal, "encoding a certificate"));
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio.get(), &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<Certificate> parse(std::string_view pem) {
  const Cert cert = read(pem);
  if (!cert) return fail(openssl_error(Code::kInvalid, "not a PEM certificate"));
  Certificate out;
  const X509_NAME* subject = X509_get_subject_name(cert.get());
  // As crypto/x509 in Go, which clients know: of several common names the last one counts.
  if (auto names = subject_entries(subject, NID_commonName); !names.empty()) out.common_name = names.back();
  out.organizations = subject_entries(subject, NID_organizationName);
  read_alternative_names(cert.get(), out);
  const ASN1_INTEGER* serial = X509_get0_serialNumber(cert.get());
  out.serial = hex_encode({reinterpret_cast<const char*>(ASN1_STRING_get0_data(serial)),
                           static_cast<std::size_t>(ASN1_STRING_length(serial))});
  out.is_ca = X509_check_ca(cert.get()) == 1;
  out.not_before = to_wall(X509_get0_notBefore(cert.get()));
  out.not_after = to_wall(X509_get0_notAfter(cert.get()));
  return out;
}

bool signed_by(std::string_view pem, std::string_view ca_pem) {
  const Cert cert = read(pem);
  const Cert ca = read(ca_pem);
  const bool ok = cert && ca && X509_check_issued(ca.get(), cert.get()) == X509_V_OK &&
                  X509_verify(cert.get(), X509_get0_pubkey(ca.get())) == 1;
  if (!ok) (void)openssl_error(Code::kInvalid, "");
  return ok;
}

bool is_for(std::string_view pem, const PublicKey& key) {
  const Cert cert = read(pem);
  const bool ok = cert && EVP_PKEY_eq(X509_get0_pubkey(cert.get()), static_cast<EVP_PKEY*>(key.native())) == 1;
  if (!ok) (void)openssl_error(Code::kInvalid, "");
  return ok;
}

}  // namespace brume::x509
