package route

import (
	"errors"
	"path/filepath"
	"testing"
)

func TestWithoutRoomForTheRecordBridgeNetfilterIsSwitchedOffAllTheSame(t *testing.T) {
	enter(t)
	for _, name := range bridgeSettings() {
		sysctl(t, name, "1")
	}
	nowhere := filepath.Join(t.TempDir(), "missing", "sysctl")
	changed, err := PassBridged(nowhere)
	if !errors.Is(err, ErrUnrecorded) || len(changed) != len(bridgeSettings()) {
		t.Errorf("PassBridged = %v, %v, want both and ErrUnrecorded", changed, err)
	}
	for _, name := range bridgeSettings() {
		wantSysctl(t, name, "0")
	}
}
