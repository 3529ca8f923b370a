package policy_test

import (
	"strings"
	"testing"

	"github.com/fairlead/fairlead/gateway/policy"
)

func parseSet(t testing.TB, text string) *policy.Set {
	t.Helper()
	set, err := policy.ParseSet("test", strings.NewReader(text))
	if err != nil {
		t.Fatalf("ParseSet(%q): %v", text, err)
	}
	return set
}
