/* SPDX-License-Identifier: BSD-3-Clause */
/* Certificates for tests, made when they are needed. */
#ifndef WFSD_TESTS_CERTIFICATES_H
#define WFSD_TESTS_CERTIFICATES_H

#include <stdio.h>
#include <time.h>

#include <gnutls/abstract.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

/* Somebody with a key and a certificate. */
struct somebody {
	gnutls_x509_privkey_t key;
	gnutls_x509_crt_t crt;
};

/* @ca NULL: signs itself, and may sign others. @dns NULL: the common name @name alone. */
static inline struct somebody somebody_new(const char *name, const char *dns, const struct somebody *ca)
{
	static unsigned char serial;
	struct somebody s;
	gnutls_privkey_t signer;
	time_t now = time(NULL);

	assert_int_equal(gnutls_x509_privkey_init(&s.key), 0);
	assert_int_equal(gnutls_x509_privkey_generate(s.key, GNUTLS_PK_ECDSA,
	                                              GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0),
	                 0);
	assert_int_equal(gnutls_x509_crt_init(&s.crt), 0);
	assert_int_equal(gnutls_x509_crt_set_version(s.crt, 3), 0);
	serial++;
	assert_int_equal(gnutls_x509_crt_set_serial(s.crt, &serial, 1), 0);
	assert_int_equal(gnutls_x509_crt_set_activation_time(s.crt, now - 60), 0);
	assert_int_equal(gnutls_x509_crt_set_expiration_time(s.crt, now + 3600), 0);
	assert_int_equal(
	        gnutls_x509_crt_set_dn_by_oid(s.crt, GNUTLS_OID_X520_COMMON_NAME, 0, name, (unsigned)strlen(name)), 0);
	if (dns)
		assert_int_equal(gnutls_x509_crt_set_subject_alt_name(s.crt, GNUTLS_SAN_DNSNAME, dns,
		                                                      (unsigned)strlen(dns), GNUTLS_FSAN_SET),
		                 0);
	assert_int_equal(gnutls_x509_crt_set_key(s.crt, s.key), 0);
	assert_int_equal(gnutls_x509_crt_set_basic_constraints(s.crt, !ca, -1), 0);
	assert_int_equal(
	        gnutls_x509_crt_set_key_usage(s.crt, ca ? GNUTLS_KEY_DIGITAL_SIGNATURE : GNUTLS_KEY_KEY_CERT_SIGN), 0);
	assert_int_equal(gnutls_privkey_init(&signer), 0);
	assert_int_equal(gnutls_privkey_import_x509(signer, ca ? ca->key : s.key, 0), 0);
	assert_int_equal(gnutls_x509_crt_privkey_sign(s.crt, ca ? ca->crt : s.crt, signer, GNUTLS_DIG_SHA256, 0), 0);
	gnutls_privkey_deinit(signer);
	return s;
}

static inline void somebody_done(struct somebody *s)
{
	gnutls_x509_crt_deinit(s->crt);
	gnutls_x509_privkey_deinit(s->key);
}

static inline void pem_write(const char *dir, const char *name, const gnutls_datum_t *pem)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(pem->data, 1, pem->size, f), pem->size);
	assert_int_equal(fclose(f), 0);
}

/* "NAME-cert.pem", and "NAME-key.pem" when it is wanted. */
static inline void somebody_write(const struct somebody *s, const char *dir, const char *name, bool with_key)
{
	gnutls_datum_t pem;
	char file[64];

	assert_int_equal(gnutls_x509_crt_export2(s->crt, GNUTLS_X509_FMT_PEM, &pem), 0);
	snprintf(file, sizeof(file), "%s-cert.pem", name);
	pem_write(dir, file, &pem);
	gnutls_free(pem.data);
	if (!with_key)
		return;
	assert_int_equal(gnutls_x509_privkey_export2(s->key, GNUTLS_X509_FMT_PEM, &pem), 0);
	snprintf(file, sizeof(file), "%s-key.pem", name);
	pem_write(dir, file, &pem);
	gnutls_free(pem.data);
}

#endif
