package upstream

import (
	"math/rand/v2"
	"testing"
	"time"
)

func TestAServerIsGivenTheTimeThatItExceedsOnceInTwenty(t *testing.T) {
	const usual, seldom = 100 * time.Millisecond, 700 * time.Millisecond
	for _, test := range []struct {
		name string
		slow int // of 40 answers
		want time.Duration
	}{
		{"slow twice in forty", 2, usual},
		{"slow three times in forty", 3, seldom},
	} {
		t.Run(test.name, func(t *testing.T) {
			var h health
			for range 10 {
				for _, i := range rand.Perm(sampled) {
					if i < test.slow {
						h.answered(seldom)
					} else {
						h.answered(usual)
					}
				}
			}
			if got := h.delay(); got != test.want {
				t.Errorf("the next server is asked after %v, want %v", got, test.want)
			}
		})
	}
}

func TestAServerThatAnsweredSeldomIsGivenMoreThanItsUsualTime(t *testing.T) {
	var h health
	if got, want := h.delay(), 3*firstRTT; got != want {
		t.Errorf("never asked: %v, want %v", got, want)
	}
	for range 3 {
		h.answered(80 * time.Millisecond)
	}
	if got := h.delay(); got <= 80*time.Millisecond || got > maxDelay {
		t.Errorf("after three answers of 80 ms: %v, want more than that and at most %v", got, maxDelay)
	}
}

func TestBeingOvertakenDoesNotShrinkTheTimeThatAServerIsGiven(t *testing.T) {
	var h health
	overtaken := 0
	const questions = 4000
	for range questions {
		took := 60*time.Millisecond + rand.N(200*time.Millisecond)
		if patience := h.delay(); took > patience {
			h.overtaken(patience, time.Now())
			h.failures = 0 // as the next answer has it
			overtaken++
		} else {
			h.answered(took)
		}
	}
	if share := float64(overtaken) / questions; share < 0.01 || share > 0.15 {
		t.Errorf("%.1f %% of the questions go to the next server as well, want about 5", 100*share)
	}
}
