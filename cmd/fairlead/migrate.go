package main

import (
	"fmt"

	"github.com/fairlead/fairlead/openwrt/config"
)

// migrateCommand prints what rewrites a configuration of an older version. It
// leaves the writing to uci: a running fairlead reads either form, so that nothing
// but the installation of a package has a reason to write to flash.
func migrateCommand(e env, args []string) int {
	fs, file := flags(e, "migrate")
	if code, ok := parsed(fs, args, 0); !ok {
		return code
	}
	batch, err := config.Migration(*file)
	if err != nil {
		return e.fail(err)
	}
	fmt.Fprint(e.out, batch)
	return 0
}
