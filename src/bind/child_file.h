/*
 * bind/child_file: opens what is handed over to a playbook's process, so that no
 * name can lead elsewhere than it says.
 */
#ifndef MOONTAP_BIND_CHILD_FILE_H
#define MOONTAP_BIND_CHILD_FILE_H

/*
 * Opens the regular file PATH for reading. With ROOT, a directory, PATH is below
 * it: names between single slashes, none of them "." or "..", and no symbolic link
 * on the way, whoever puts one there meanwhile; only ROOT itself may be reached
 * through one. Without, PATH itself is none. PUBLIC: the file, and the directories
 * below ROOT, have to let every user of the machine in. Returns the descriptor, or
 * -1 and errno: EPERM where that is not so.
 */
int child_file_open(const char *root, const char *path, int is_public);

#endif
