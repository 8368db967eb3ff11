/*
 * Output commit and arbitration of one session: primary a, backup b, an arbiter. Written apart from the Swift code, after docs/architecture.md, and
 * checked by spin: every interleaving, with messages that are lost, repeated and overtaken, lost and late answers of the arbiter, and deaths.
 *
 *   spin -a protection.pml && gcc -O2 -DSAFETY -o pan pan.c && ./pan -E -m1000000
 *
 * -DBUG=1: the backup's takeover is compared with the current record, and not with the one in which its state was committed.
 * -DBUG=2: the backup goes on to acknowledge after it has asked the arbiter.
 * -DBUG=3: an answer that was lost counts as a decision won.
 */
#ifndef BUG
#define BUG 0
#endif
#ifndef EPOCHS
#define EPOCHS 3
#endif

/* Every record that this session can lead to. Nonces are never used twice, so each is one value. */
#define PERMITTED 1  /* {g, a, b, s, confirmed} */
#define SOLO 2       /* {g+1, a, -, n, confirmed} */
#define TAKEN 3      /* {g+1, b, -, s/x, unconfirmed} */
#define CONFIRMED 4  /* {g+1, b, -, s/x, confirmed} */
#define RETURNED 5   /* {g+2, a, -, s/x/y, unconfirmed} */
#define RESUMED 6    /* {g+2, a, -, s/x/y, confirmed} */

byte record = PERMITTED;

/* Nothing that was sent is ever taken off the network. */
bool epochSent[EPOCHS + 1];
bool acknowledged[EPOCHS + 1];
bool winnerRuns;

/* Proposals that are still on their way to the arbiter when their host has given up waiting, or is dead. */
bool late[RESUMED + 1];

/* What is true, whatever anybody believes. */
bool gateClosed, guestStopped, guestGone;   /* a */
bool backupEverRan;                         /* b */
byte cut, released, committed, resumedFrom;

#define heard (!gateClosed && !guestStopped && !guestGone)

inline check() { assert(!(heard && backupEverRan)) }              /* I4 */

inline execute(expected, proposed) { record = (record == expected -> proposed : record) }

/* Asks until an answer says how it stands: ours is stored, or one from which ours cannot follow. */
inline decide(expected, proposed, won) {
  do
  :: atomic { execute(expected, proposed); won = (record == proposed); break }
  :: atomic { execute(expected, proposed) }                       /* carried out, the answer is lost */
     if
     :: BUG == 3 -> won = true; break
     :: else -> skip
     fi
  :: late[proposed] == false -> late[proposed] = true             /* lost, or on its way for long */
     if
     :: BUG == 3 -> won = true; break
     :: else -> skip
     fi
  od
}

/* The session's end on a: alone, or stopped and gated until the record tells. */
inline primaryDecides(won) {
  decide(PERMITTED, SOLO, won);
  if
  :: won -> atomic { gateClosed = false; check() }
  :: else ->
     guestStopped = true;
     do
     :: winnerRuns || record == CONFIRMED ->
        assert(backupEverRan);                                    /* the good copy is not ended */
        guestGone = true;
        break
     :: record == RETURNED ->
        decide(RETURNED, RESUMED, won);
        if
        :: won -> atomic { guestStopped = false; gateClosed = false; check() }
        :: else -> skip
        fi;
        break
     od
  fi
}

active proctype Primary() {
  bool won;
  byte e;
  do
  :: cut < EPOCHS && cut == released ->
     atomic { gateClosed = true; cut++; epochSent[cut] = true }
  :: cut > released && acknowledged[cut] ->
     atomic {
       e = cut;
       assert(e <= committed || resumedFrom > 0);                 /* I1: the backup has it */
       assert(resumedFrom == 0 || e <= resumedFrom);
       released = e
     }
  :: cut > 0 -> primaryDecides(won); break                        /* the backup is silent, or seems to be */
  :: cut > 0 ->                                                   /* the daemon dies; the next one finds a closed gate */
     if
     :: record == PERMITTED || record == SOLO -> primaryDecides(won)
     :: record == RETURNED ->
        guestStopped = true;
        decide(RETURNED, RESUMED, won);
        if
        :: won -> atomic { guestStopped = false; gateClosed = false; check() }
        :: else -> skip
        fi
     :: record == TAKEN -> guestStopped = true; primaryDecides(won)
     :: record == CONFIRMED -> guestGone = true
     :: record == RESUMED
     fi;
     break
  :: atomic { guestGone = true; break }                           /* the host dies */
  od
}

active proctype Backup() {
  bool won;
  byte expected = PERMITTED;
  do
  :: committed < EPOCHS && epochSent[committed + 1] ->
     atomic { committed++; acknowledged[committed] = true }
  :: committed > 0 -> break                                       /* the primary is silent, or seems to be */
  :: goto dead
  od;
  if
  :: BUG == 1 -> expected = record
  :: else -> skip
  fi;
  resumedFrom = 0;
  do
  :: BUG == 2 && committed < EPOCHS && epochSent[committed + 1] -> acknowledged[committed + 1] = true; break
  :: break
  od;
  decide(expected, TAKEN, won);
  if
  :: !won -> goto dead                                            /* the standby is ended */
  :: won ->
     if
     :: goto dead
     :: /* the standby does not load: it is ended, and the record given back */
        decide(TAKEN, RETURNED, won);
        goto dead
     :: atomic {
          resumedFrom = committed;
          assert(resumedFrom >= released);                        /* I1: nothing was seen that is not in it */
          assert(resumedFrom <= cut);                             /* I2: a whole epoch */
          backupEverRan = true;
          check()
        }
        if
        :: winnerRuns = true
        :: skip
        fi;
        decide(TAKEN, CONFIRMED, won);
        assert(won)
     fi
  fi;
dead:
  skip
}

/* What comes to the arbiter late. */
active proctype Network() {
  do
  :: late[SOLO] -> atomic { execute(PERMITTED, SOLO) }
  :: late[TAKEN] -> atomic { execute(PERMITTED, TAKEN) }
  :: late[CONFIRMED] -> atomic { execute(TAKEN, CONFIRMED) }
  :: late[RETURNED] -> atomic { execute(TAKEN, RETURNED) }
  :: late[RESUMED] -> atomic { execute(RETURNED, RESUMED) }
  :: true -> break
  od
}
