package apk

import (
	"strings"

	"github.com/fairlead/fairlead/package/payload"
)

// The scripts that every package of OpenWrt has, from include/package-pack.mk.
const (
	shell   = "#!/bin/sh\n"
	upgrade = "export PKG_UPGRADE=1\n"
	unless  = "[ \"${IPKG_NO_SCRIPT}\" = \"1\" ] && exit 0\n"
	library = "[ -s ${IPKG_INSTROOT}/lib/functions.sh ] || exit 0\n. ${IPKG_INSTROOT}/lib/functions.sh\n"
)

// scripts are what apk runs, with the package's own parts at their ends.
func scripts(p payload.Package) []payload.File {
	names := "export root=\"${IPKG_INSTROOT}\"\nexport pkgname=\"" + p.Name + "\"\n"
	install := unless + library + names + "add_group_and_user\ndefault_postinst\n" + body(p.Scripts["postinst-pkg"])
	remove := library + names + "default_prerm\n" + body(p.Scripts["prerm-pkg"])

	var all []payload.File
	add := func(name, text string) {
		all = append(all, payload.File{Path: "/" + name, Mode: 0o755, Data: []byte(shell + text)})
	}
	if before, ok := p.Scripts["preinst"]; ok {
		add("pre-install", body(before))
		add("pre-upgrade", upgrade+body(before))
	}
	add("post-install", install)
	add("post-upgrade", upgrade+install)
	add("pre-deinstall", remove)
	if after, ok := p.Scripts["postrm"]; ok {
		add("post-deinstall", body(after))
	}
	return all
}

// body is a script without the line that names its shell.
func body(script string) string {
	if line, rest, ok := strings.Cut(script, "\n"); ok && strings.HasPrefix(line, "#!") {
		return rest
	}
	return script
}
