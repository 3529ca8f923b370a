package nft

import (
	"testing"
	"time"
)

func TestAnyChangeTakesAHeartbeatAlongThatIsDue(t *testing.T) {
	table := install(t, enterNetNS(t), house())
	for _, isDue := range []bool{true, false} {
		run(t, "", "nft", "flush", "set", "inet", TableName, aliveSet)
		table.beaten = time.Now().Add(time.Hour) // on a slow machine a second is soon over
		if isDue {
			table.beaten = time.Now().Add(-due)
		}
		before := time.Now()
		check(t, "SetWay", table.SetWay(0, addr("192.0.2.1"), DirectWay, time.Hour))
		if got, want := len(elements(t, aliveSet)), map[bool]int{true: 2}[isDue]; got != want {
			t.Errorf("with a heartbeat due (%v) a change leaves %d families alive, want %d", isDue, got, want)
		}
		if table.beaten.Before(before) {
			t.Errorf("with a heartbeat due (%v) the last one is said to be %s old, want a new one", isDue, time.Since(table.beaten))
		}
	}
}
