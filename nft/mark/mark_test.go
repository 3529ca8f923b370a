package mark

import "testing"

func TestEveryInterfaceHasAMarkOfItsOwnWithinTheMask(t *testing.T) {
	seen := map[uint32]bool{0: true, Carried: true, Own: true}
	for n := range Interfaces {
		m, ok := Interface(n)
		if !ok || m&^Mask != 0 || seen[m] {
			t.Errorf("Interface(%d) = %#x, %t, want a new mark within %#x", n, m, ok, Mask)
		}
		seen[m] = true
	}
}

func TestInterfacesBeyondTheMaskHaveNone(t *testing.T) {
	for _, n := range []int{-1, Interfaces} {
		if m, ok := Interface(n); ok {
			t.Errorf("Interface(%d) = %#x, want none", n, m)
		}
	}
}
