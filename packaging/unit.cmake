# Installs the unit, which names the program by where it was installed. It runs while installing,
# since --prefix may say then where that is. `source`: the directory of packaging/.
file(READ "${source}/moontap.service" unit)
get_filename_component(prefix "${CMAKE_INSTALL_PREFIX}" ABSOLUTE)
string(REPLACE "ExecStart=/usr/bin/moontap " "ExecStart=${prefix}/bin/moontap " unit "${unit}")
set(path "${prefix}/lib/systemd/system/moontap.service")
message(STATUS "Installing: $ENV{DESTDIR}${path}")
file(WRITE "$ENV{DESTDIR}${path}" "${unit}")
list(APPEND CMAKE_INSTALL_MANIFEST_FILES "${path}")
