/*
 * module: linked into every module that loads at first use. The program
 * refuses a module of another build, because both share structs.
 */
extern const char moontap_module_build_id[];
__attribute__((visibility("default"))) const char moontap_module_build_id[] = MOONTAP_BUILD_ID;
