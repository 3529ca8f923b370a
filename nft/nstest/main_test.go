package nstest_test

import (
	"os"
	"testing"

	"github.com/fairlead/fairlead/nft/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Main(m)) }
