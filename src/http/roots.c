/*
 * roots: which certificate authorities to trust. Debian names a bundle file and
 * a hashed directory at once, and libcurl then parses the whole bundle for every
 * connection (18 ms); the directory alone is read where it is needed.
 */
#include "http_int.h"

#include <ctype.h>
#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#define HASHED_DIR "/etc/ssl/certs"

/* "1d3472b9.0": how OpenSSL looks a certificate up. */
static int
is_hashed_name(const char *name)
{
    int i;

    for (i = 0; i < 8; i++) {
        if (!isxdigit((unsigned char)name[i])) {
            return 0;
        }
    }
    return name[8] == '.' && isdigit((unsigned char)name[9]);
}

static int
has_hashed_names(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    int found = 0;

    if (dir == NULL) {
        return 0;
    }
    while (!found && (entry = readdir(dir)) != NULL) {
        found = is_hashed_name(entry->d_name);
    }
    (void)closedir(dir);
    return found;
}

/* Does FILE say no more than the hashed directory? Many environments set the
 * variable to what is the default anyway. */
static int
is_system_bundle(const char *file, const curl_version_info_data *built)
{
    return built->cainfo != NULL && strcmp(file, built->cainfo) == 0
           && has_hashed_names(HASHED_DIR);
}

static const char *
setting(const char *name)
{
    const char *value = getenv(name);

    return value != NULL && *value != '\0' ? value : NULL;
}

void
roots_find(struct roots *roots, const char *cacert)
{
    const curl_version_info_data *built = curl_version_info(CURLVERSION_NOW);

    roots->file = cacert != NULL ? cacert : setting("SSL_CERT_FILE");
    roots->dir = cacert != NULL ? NULL : setting("SSL_CERT_DIR");
    if (cacert == NULL && roots->file != NULL && is_system_bundle(roots->file, built)
        && (roots->dir == NULL || strcmp(roots->dir, HASHED_DIR) == 0)) {
        roots->file = NULL;
        roots->dir = HASHED_DIR;
    }
    if (roots->file != NULL || roots->dir != NULL) {
        return;
    }
    if (has_hashed_names(HASHED_DIR)) {
        roots->dir = HASHED_DIR;
        return;
    }
    roots->file = built->cainfo;
    roots->dir = built->capath;
}

CURLcode
roots_apply(const struct roots *roots, CURL *easy)
{
    const struct {
        CURLoption option;
        const char *value;
    } settings[] = {
        {CURLOPT_CAINFO, roots->file},
        {CURLOPT_CAPATH, roots->dir},
        {CURLOPT_PROXY_CAINFO, roots->file},
        {CURLOPT_PROXY_CAPATH, roots->dir},
    };
    size_t i;
    CURLcode code = CURLE_OK;

    for (i = 0; code == CURLE_OK && i < sizeof settings / sizeof *settings; i++) {
        code = curl_easy_setopt(easy, settings[i].option, settings[i].value);
    }
    return code;
}
