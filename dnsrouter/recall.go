package dnsrouter

import (
	"time"

	"github.com/fairlead/fairlead/dnsrouter/cache"
	"github.com/fairlead/fairlead/dnsrouter/wire"
)

const (
	// failureTime is how long a question that nobody answered is not asked again
	// (RFC 9520 section 3.2: a second at least). Clients try again after five.
	failureTime = 2 * time.Second
	// failureMemory is how long after that it is known that it was asked in vain
	// the last time, so that nobody who can have an old answer waits for a new one.
	failureMemory = 10 * time.Minute
)

// Flags of a cache.Key.
const (
	keyDO uint8 = 1 << iota
	keyCD
	keyFailure // what is stored is no answer: nobody gave one
)

// everyType is the type under which it is kept that a name does not exist (RFC
// 2308 section 5). No question is for it.
const everyType = 0

// strangers is the view of those whose packets are not diverted: no client's.
const strangers = unseen - 1

// view is whom an answer is good for.
func (q *question) view() uint16 {
	if q.stranger {
		return strangers
	}
	return uint16(q.client)
}

// cacheKey keys by view: a client never sees what another view's way told.
func (q *question) cacheKey(view uint16) cache.Key {
	var flags uint8
	if q.DO {
		flags |= keyDO
	}
	if q.CD {
		flags |= keyCD
	}
	return cache.Key{View: view, Flags: flags, Type: q.Type, Class: q.Class, Name: q.Name()}
}

// recall puts into q.out what the cache has for the question: an answer to it,
// or that there is no such name, whatever type that was found out with.
func (q *question) recall(c *cache.Cache, view uint16, now time.Time) cache.State {
	key := q.cacheKey(view)
	answer, state := c.Get(key, q.out[:0], now)
	q.out = answer
	if state == cache.Fresh || state == cache.Ending {
		return state
	}
	key.Type = everyType
	both, noName := c.Get(key, answer, now)
	if noName == cache.Miss {
		return state
	}
	q.out = append(both[:0], both[len(answer):]...) // the later of the two
	wire.SetType(q.out, q.Type)
	return noName
}

// keep has the cache keep an answer, and forget what it proves wrong.
func (q *question) keep(c *cache.Cache, view uint16, answer wire.Scrubbed, stale time.Duration, now time.Time) {
	key := q.cacheKey(view)
	failure, noName := key, key
	failure.Flags |= keyFailure
	noName.Type = everyType
	forget(c, failure, now)
	if answer.NoName {
		key = noName
	} else {
		forget(c, noName, now)
	}
	if answer.TTL > 0 {
		c.Put(key, answer.Msg, answer.TTLs, time.Duration(answer.TTL)*time.Second, stale, now)
	}
}

func forget(c *cache.Cache, key cache.Key, now time.Time) { c.Put(key, nil, nil, 0, 0, now) }

// keepFailure has the cache keep that nobody answered the question.
func (q *question) keepFailure(c *cache.Cache, view uint16, now time.Time) {
	key := q.cacheKey(view)
	key.Flags |= keyFailure
	var none [wire.HeaderLen]byte
	c.Put(key, none[:], nil, failureTime, failureMemory, now)
}

// failure tells whether nobody answered the question the last time: Fresh if
// that was a moment ago, Stale if it was before.
func (q *question) failure(c *cache.Cache, view uint16, now time.Time) cache.State {
	key := q.cacheKey(view)
	key.Flags |= keyFailure
	return c.Peek(key, now)
}
